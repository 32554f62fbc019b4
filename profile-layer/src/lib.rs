//! Span-scoped profiling: every sample of an always-on CPU profiler is tagged with the `tracing` span it was taken in.
//!
//! ```no_run
//! use profile_layer::{Profiler, profiled};
//! use tracing_subscriber::prelude::*;
//!
//! #[profiled]
//! fn checkout(items: &mut Vec<u64>) {
//!     items.sort_unstable();
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // OTEL_* variables say where profiles go; without any, nothing leaves the process.
//!     let profiler = Profiler::builder().with_service_name("shop").build()?;
//!     tracing_subscriber::registry().with(profiler.layer()).init();
//!     checkout(&mut vec![3, 1, 2]);
//!     profiler.shutdown()?;
//!     Ok(())
//! }
//! ```
//!
//! With `tracing-opentelemetry` in the stack, add its layer *before* this one: samples then carry the trace and span ids
//! of OpenTelemetry, and the local root span of every request gets the attribute `pyroscope.profile.id`, which is what
//! Grafana's "Profiles for this span" looks for. Without OpenTelemetry, spans get W3C ids of our own.
//!
//! # Libraries
//!
//! A library that only annotates its functions depends on this crate with `default-features = false`. Then nothing of the
//! profiler is built: no sampler, no exporter, no HTTP. `#[profiled]` checks its arguments and leaves its item untouched,
//! and the rest of this interface is there and does nothing. All of it comes alive in a program that switches the default
//! feature `enable` on, in its own dependency on this crate.
#![forbid(unsafe_code)]

#[cfg(not(feature = "enable"))]
mod disabled;
#[cfg(feature = "enable")]
mod enabled;
#[cfg(feature = "enable")]
mod layer;
#[cfg(feature = "enable")]
mod logging;
#[cfg(all(feature = "enable", feature = "metrics"))]
mod metrics;
#[cfg(all(feature = "enable", feature = "opentelemetry"))]
mod otel;
#[cfg(feature = "enable")]
mod profiler;
#[cfg(feature = "enable")]
mod remote;
#[cfg(feature = "enable")]
mod scope;
#[cfg(feature = "enable")]
mod select;

// What `#[profiled]` expands to is the only user of this.
#[cfg(feature = "enable")]
#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;

#[cfg(not(feature = "enable"))]
use disabled::error; // where the shared sources look for it
#[cfg(not(feature = "enable"))]
pub use disabled::*;
#[cfg(feature = "enable")]
pub use enabled::*;
pub use profile_macros::profiled;
