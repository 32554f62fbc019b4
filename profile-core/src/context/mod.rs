//! Which span is current: identifiers, span paths, and (later in this module) their publication to the sampler.

mod ids;
mod path;

pub use ids::{SpanContext, SpanId, TraceFlags, TraceId};
pub use path::SpanPath;
