//! The forms of `profile-fixture-2024` in edition 2021, with `profile-layer` under another name: once named to the
//! attribute, once to the whole crate.
#![forbid(unsafe_code)]
#![deny(warnings)]
#![warn(clippy::pedantic, clippy::nursery)]
#![warn(
    unused,
    nonstandard_style,
    future_incompatible,
    rust_2018_idioms,
    refining_impl_trait,
    keyword_idents
)]
#![warn(let_underscore_drop, missing_docs, missing_debug_implementations, missing_copy_implementations)]
#![warn(redundant_lifetimes, single_use_lifetimes, trivial_casts, trivial_numeric_casts, unit_bindings)]
#![warn(unnameable_types, unreachable_pub, unused_import_braces, unused_lifetimes, unused_qualifications)]
#![warn(unused_results, variant_size_differences, elided_lifetimes_in_paths, explicit_outlives_requirements)]

extern crate renamed as profile_layer;

#[path = "../../fixture-2024/src/forms.rs"]
pub mod forms;
#[path = "../../fixture-2024/src/regions.rs"]
pub mod regions;

/// Someone else's re-export.
pub mod facade {
    pub use renamed as profiling;
}

/// By the dependency's new name.
#[renamed::profiled(crate = renamed)]
pub fn by_name() {}

/// The region of another crate's name.
#[renamed::profiled(crate = renamed, span = false, labels(a = 1))]
pub async fn region() {}

/// By a path in this crate, with everything that names the runtime.
///
/// # Errors
///
/// Never.
#[facade::profiling::profiled(crate = crate::facade::profiling, fields(a = Empty), err, ret, follows_from = [None])]
pub fn by_path() -> Result<u8, String> {
    Ok(1)
}

/// For a whole block.
#[derive(Clone, Copy, Debug)]
pub struct Block;

#[renamed::profiled(crate = renamed)]
impl Block {
    /// Async.
    pub async fn method(self) -> u8 {
        self.later().await
    }

    /// With arguments of its own.
    #[renamed::profiled(level = "debug")]
    async fn later(self) -> u8 {
        1
    }
}
