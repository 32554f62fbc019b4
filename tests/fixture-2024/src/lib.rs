//! Every form of `#[profiled]`, under the strictest lints a user may have. That this crate builds, and passes clippy,
//! is the test: no warning may come from an expansion.
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

pub mod forms;
pub mod regions;
