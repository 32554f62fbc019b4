//! Which span is current: identifiers, span paths, and the records that the sampler reads.
//!
//! A span that opens gets a `record`, found again by the subscriber's span id through a side `table`. A thread
//! that enters the span publishes the record's number (see `thread::current`); the signal handler reads the record.
//!
//! Beside the span a thread can be in a [`Region`] and under [`LabelSet`]s: a number each, published in the same way.

mod ids;
mod intern;
mod label;
mod path;
mod record;
mod region;
mod table;
mod traceparent;

pub use ids::{SampleContext, SpanContext, SpanId, TraceFlags, TraceId};
pub use label::LabelSet;
pub use path::SpanPath;
pub(crate) use record::{RECORD_WORDS, Record, RecordIndex, context_of_words};
pub use region::Region;
pub(crate) use table::SpanTable;
pub use traceparent::TraceParent;
