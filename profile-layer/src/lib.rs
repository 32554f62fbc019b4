//! placeholder

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;

pub use profile_macros::profiled;
