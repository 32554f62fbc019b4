//! `#[profiled]` as a subscriber sees it: which spans exist, what they carry, when they are entered and left.
#![cfg(feature = "enable")]
// The fixtures are as odd as the code that users write, and helpers fail by panicking as tests do.
#![allow(clippy::unwrap_used, clippy::boxed_local, clippy::manual_async_fn, clippy::redundant_clone)]
#![allow(clippy::too_many_arguments, clippy::needless_lifetimes, clippy::multiple_bound_locations)]

mod arguments;
mod asynchronous;
mod beside;
mod blocks;
mod recorder;
mod regions;
mod sync;
