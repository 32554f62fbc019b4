//! The `tracing` layer: it tells the sampler which span each thread is in.

use crate::TraceParent;
use crate::select::Selection;
use profile_core::spans::{Entered, SpanTracker};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id};
use tracing::{Level, Subscriber};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// Follows spans for the profiler. Made by [`Profiler::layer`](crate::Profiler::layer).
///
/// Add it last. After the `tracing-opentelemetry` layer, so that a span's OpenTelemetry context is current when this layer
/// sees the span entered; and after layers with filters, so that it can see which levels they ask for.
///
/// Which spans it follows is decided here, by `with_max_level`, `with_target` and `with_span_names`; spans that are left out
/// count for the span around them. None of that disables a span or an event for another layer. Wrapping this layer in a
/// filter of `tracing-subscriber` selects spans too, but costs two more lookups each time a span is entered or left.
///
/// A layer outlives its profiler: after the profiler's shutdown it does nothing.
#[derive(Debug)]
pub struct ProfileLayer {
    spans: SpanTracker,
    selection: Selection,
    /// The most verbose level that the layers before this one ask for, if they said.
    beside: Option<LevelFilter>,
}

impl ProfileLayer {
    pub(crate) fn new(spans: SpanTracker) -> Self {
        Self { spans, selection: Selection::default(), beside: None }
    }

    /// Follows only spans of this level and less verbose ones. By default every span is followed that anybody asks for.
    ///
    /// The level, `INFO` by default, is also what this layer adds to what the layers before it ask for: `DEBUG` gives it
    /// debug spans that their filters do not want. Layers that ask for everything, and a registry without any other layer,
    /// are left to it: an event or span of a level that nobody wants is as cheap as without this layer. Where it is
    /// the only one, add a `LevelFilter` before it to switch off more verbose events at their call sites.
    #[must_use]
    pub fn with_max_level(mut self, level: Level) -> Self {
        self.selection.max_level = Some(level);
        self
    }

    /// Follows only spans of this target, which usually is the path of a module, and of those inside it: `shop` stands for
    /// `shop` and `shop::cart`, not for `shopping`. Called again it adds a target.
    #[must_use]
    pub fn with_target(mut self, target: impl Into<String>) -> Self {
        self.selection.targets.push(target.into());
        self
    }

    /// Follows only spans of these names. Called again it adds names.
    #[must_use]
    pub fn with_span_names<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.selection.names.extend(names.into_iter().map(Into::into));
        self
    }

    /// A span's first enter. Apart from the others, so that they cost little.
    #[cold]
    #[inline(never)]
    fn enter(&self, id: &Id) {
        if let Entered::LocalRoot(root) = self.spans.enter(id.into_u64(), outside_ids) {
            mark_local_root(root);
        }
    }

    pub(crate) fn set_remote_parent(&self, id: &Id, parent: TraceParent) -> bool {
        self.spans.set_remote_parent(id.into_u64(), parent.context())
    }
}

impl<S> tracing_subscriber::Layer<S> for ProfileLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_layer(&mut self, subscriber: &mut S) {
        self.beside = subscriber.max_level_hint();
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if !self.spans.is_active() {
            return;
        }
        if self.selection.takes(attributes.metadata()) {
            let parents = context.span_scope(id).into_iter().flatten().skip(1);
            // The nearest span around it that is followed: a filter may have left out some.
            let parent = parents.map(|span| span.id().into_u64()).find(|parent| self.spans.knows(*parent));
            self.spans.open(id.into_u64(), parent, attributes.metadata().name());
        } else {
            self.spans.leave_out(attributes.metadata().name());
        }
    }

    fn on_enter(&self, id: &Id, _: Context<'_, S>) {
        if !self.spans.enter_again(id.into_u64()) {
            self.enter(id);
        }
    }

    fn on_exit(&self, id: &Id, _: Context<'_, S>) {
        self.spans.exit(id.into_u64());
        if self.spans.asks_at_exit(id.into_u64()) {
            self.spans.ids_at_exit(outside_ids().is_some());
        }
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        self.spans.close(id.into_u64());
    }

    /// A hint limits the layers that gave none, so there is one only beside layers that gave one. `tracing` takes the more
    /// verbose of the two. The interest in call sites stays what it is by default: to decline one here would decline it for
    /// everybody.
    fn max_level_hint(&self) -> Option<LevelFilter> {
        let own = self.selection.max_level.unwrap_or(Level::INFO);
        self.beside.map(|_| LevelFilter::from_level(own))
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
