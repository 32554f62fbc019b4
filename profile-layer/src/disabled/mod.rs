//! The public interface without a profiler: the names and signatures of `enabled`, of which none does anything.
//!
//! A type of which only a profiler makes values has none here, so its methods are proven never to run. What is data only
//! (errors, ids) is the very source of `profile-core`.

#![allow(missing_docs, dead_code, clippy::missing_errors_doc)] // see the documentation of the real ones
#![allow(clippy::unused_self, clippy::must_use_candidate, clippy::return_self_not_must_use)]

pub(crate) mod error;
mod export;
mod ids;
mod names;
mod profile;
mod profiler;
mod reason;
mod traceparent;

pub use error::{Error, ErrorKind, Result};
pub use export::{
    BatchProfileProcessor, Compression, ExportError, ExportReceipt, FileExporter, FileFormat, FileMode,
    OtlpGrpcExporter, OtlpHttpExporter, ProfileExporter, ProfileProcessor, PyroscopeExporter,
};
pub use ids::{SampleContext, SpanContext, SpanId, TraceFlags, TraceId};
pub use names::{LabelSet, Region, SpanPath};
pub use profile::{Profile, ProfileBatch, SpanScope};
pub use profiler::{
    Engine, ProfileCollector, ProfileLayer, Profiler, ProfilerBuilder, Report, Resource, SpanReport,
    StatsSnapshot, Status, current, init, set_remote_parent,
};
pub use reason::{Explanation, Reason};
pub use traceparent::TraceParent;
