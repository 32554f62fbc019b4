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
#![forbid(unsafe_code)]

// What `#[profiled]` expands to is the only user of this.
#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
mod layer;
mod logging;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "opentelemetry")]
mod otel;
mod scope;

pub use layer::ProfileLayer;
pub use profile_core::context::{
    LabelSet, Region, SampleContext, SpanContext, SpanId, SpanPath, TraceFlags, TraceId, TraceParent,
};
pub use profile_core::error::{Error, ErrorKind, Result};
#[cfg(feature = "grpc")]
pub use profile_core::export::OtlpGrpcExporter;
#[cfg(feature = "otlp-http")]
pub use profile_core::export::OtlpHttpExporter;
#[cfg(feature = "pyroscope")]
pub use profile_core::export::PyroscopeExporter;
pub use profile_core::export::{
    BatchProfileProcessor, Compression, ExportError, ExportReceipt, FileExporter, FileFormat, FileMode,
    ProfileExporter, ProfileProcessor,
};
pub use profile_core::profile::{Profile, ProfileBatch, SpanScope};
pub use profile_core::profiler::{ProfileCollector, ProfilerBuilder, Report, SpanReport, Status};
pub use profile_core::resource::Resource;
pub use profile_core::stats::StatsSnapshot;
pub use profile_macros::profiled;
pub use profiler::{Profiler, init};
pub use remote::set_remote_parent;

mod profiler;
mod remote;
mod select;

/// The ids of the span that the calling thread is in: what a sample taken now would be tagged with, and what an outgoing
/// request names as its parent ([`TraceParent::new`]). `None` outside every span, and in a span that has no ids.
#[must_use]
pub fn current() -> Option<SpanContext> {
    profile_core::spans::current()
}
