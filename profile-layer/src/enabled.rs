//! The public interface, with a profiler behind it. A name that is added here is added to `disabled` too.

pub use crate::layer::ProfileLayer;
pub use crate::profiler::{Profiler, init};
pub use crate::remote::set_remote_parent;
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
pub use profile_core::profiler::{
    Engine, Explanation, ProfileCollector, ProfilerBuilder, Reason, Report, SpanReport, Status,
};
pub use profile_core::resource::Resource;
pub use profile_core::stats::StatsSnapshot;

/// The ids of the span that the calling thread is in: what a sample taken now would be tagged with, and what an outgoing
/// request names as its parent ([`TraceParent::new`]). `None` outside every span, and in a span that has no ids.
#[must_use]
pub fn current() -> Option<SpanContext> {
    profile_core::spans::current()
}
