//! Ids from the current OpenTelemetry context.
//!
//! Needs only the OpenTelemetry API: `tracing-opentelemetry` makes the context of the entered span current ("context
//! activation", on by default since 0.32), and so does everything else that speaks OpenTelemetry. The `opentelemetry`
//! crate must be the very version that those use: the current context is a thread-local of one crate version.

use opentelemetry::trace::TraceContextExt;
use opentelemetry::{Context, KeyValue};
use profile_core::context::{SpanContext, SpanId, TraceFlags, TraceId};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Grafana's join key: the id that samples of the span's request are linked to. Source: grafana/otel-profiling-go.
const PROFILE_ID: &str = "pyroscope.profile.id";

/// The ids of the current OpenTelemetry span, if there is one.
pub(crate) fn current() -> Option<SpanContext> {
    with_current(|context| {
        let span = context.span();
        let ids = span.span_context();
        ids.is_valid().then(|| SpanContext {
            trace_id: TraceId::from_bytes(ids.trace_id().to_bytes()),
            span_id: SpanId::from_bytes(ids.span_id().to_bytes()),
            flags: TraceFlags::from_u8(ids.trace_flags().to_u8()),
        })
    })
    .flatten()
}

/// Marks the current OpenTelemetry span, a local root, as the one that samples link to. A span that is not sampled is left
/// alone: its samples get no link.
pub(crate) fn mark_local_root(root: SpanContext) {
    if root.flags.is_sampled() {
        with_current(|context| {
            let span = context.span();
            // Not ours if the root's ids are our own: then the current span, if any, is another.
            if span.span_context().span_id().to_bytes() == root.span_id.to_bytes() {
                span.set_attribute(KeyValue::new(PROFILE_ID, root.span_id.to_string()));
            }
        });
    }
}

/// Suppresses the telemetry of OpenTelemetry on the calling thread until the returned value is dropped: its SDK then makes
/// no span, log record or measurement here. A context of its own costs other threads nothing, unlike a scoped `tracing`
/// dispatcher, which takes the fast path away from all of them.
pub(crate) fn suppress() -> Box<dyn Any> {
    Box::new(Context::enter_telemetry_suppressed_scope())
}

/// Reads the current context. A thread that is ending may have lost its thread-local context already, which the
/// OpenTelemetry API answers with a panic; here that is "no context".
fn with_current<T>(read: impl FnOnce(&Context) -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(|| Context::map_current(read))).ok()
}
