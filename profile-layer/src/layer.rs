//! The `tracing` layer: it tells the sampler which span each thread is in.

use profile_core::spans::{Entered, SpanTracker};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id};
use tracing::{Level, Subscriber};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// Follows spans for the profiler. Made by [`Profiler::layer`](crate::Profiler::layer).
///
/// Put it after the `tracing-opentelemetry` layer if there is one, so that a span's OpenTelemetry context is current when
/// this layer sees the span entered. Wrapping it in a filter is possible: spans that are filtered out count for the span
/// around them.
///
/// A layer outlives its profiler: after the profiler's shutdown it does nothing.
#[derive(Debug)]
pub struct ProfileLayer {
    spans: SpanTracker,
    level: LevelFilter,
}

impl ProfileLayer {
    pub(crate) const fn new(spans: SpanTracker) -> Self {
        Self { spans, level: LevelFilter::INFO }
    }

    /// The most verbose level of spans that this layer asks for; `INFO` by default. It is a hint to `tracing`, which keeps
    /// call sites that no layer wants as cheap as if there were none. A more verbose span that another layer wants is
    /// followed all the same.
    #[must_use]
    pub fn with_max_level(mut self, level: Level) -> Self {
        self.level = LevelFilter::from_level(level);
        self
    }
}

impl<S> tracing_subscriber::Layer<S> for ProfileLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if self.spans.is_active() {
            let parents = context.span_scope(id).into_iter().flatten().skip(1);
            // The nearest span around it that is followed: a filter may have left out some.
            let parent = parents.map(|span| span.id().into_u64()).find(|parent| self.spans.knows(*parent));
            self.spans.open(id.into_u64(), parent, attributes.metadata().name());
        }
    }

    fn on_enter(&self, id: &Id, _: Context<'_, S>) {
        if let Entered::LocalRoot(root) = self.spans.enter(id.into_u64(), outside_ids) {
            mark_local_root(root);
        }
    }

    fn on_exit(&self, id: &Id, _: Context<'_, S>) {
        self.spans.exit(id.into_u64());
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        self.spans.close(id.into_u64());
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }
}

#[cfg(feature = "opentelemetry")]
use crate::otel::{current as outside_ids, mark_local_root};

#[cfg(not(feature = "opentelemetry"))]
use none::{mark_local_root, outside_ids};

/// No tracing system to ask.
#[cfg(not(feature = "opentelemetry"))]
mod none {
    use profile_core::context::SpanContext;

    pub(super) const fn outside_ids() -> Option<SpanContext> {
        None
    }

    pub(super) const fn mark_local_root(_: SpanContext) {}
}
