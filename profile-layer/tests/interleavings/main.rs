//! Which span a thread is said to be in, against a model simple enough to be right: a stack of spans for each thread.
#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests, outside of test functions.

mod ending;
mod futures;
mod model;
mod runtimes;
mod threads;

use profile_layer::Profiler;
use std::sync::OnceLock;
use tracing_subscriber::prelude::*;

/// The profiler of all these tests, with its layer in the global subscriber.
fn profiler() -> &'static Profiler {
    static PROFILER: OnceLock<Profiler> = OnceLock::new();
    PROFILER.get_or_init(|| {
        let profiler = Profiler::builder().with_frequency(997).build().unwrap();
        tracing_subscriber::registry().with(profiler.layer()).init();
        profiler
    })
}

/// The id of the span that the calling thread is said to be in.
fn current() -> Option<profile_layer::SpanId> {
    profile_layer::current().map(|ids| ids.span_id)
}

/// The id of a span.
fn id_of(span: &tracing::Span) -> profile_layer::SpanId {
    span.in_scope(|| current().unwrap())
}
