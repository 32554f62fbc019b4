//! A layer that writes down everything that happens to spans, and a way to run code under it alone.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// One span, as it was made and as it ended up.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) name: &'static str,
    pub(crate) target: &'static str,
    pub(crate) level: Level,
    /// The name of the span above it.
    pub(crate) parent: Option<&'static str>,
    /// The declared fields, in order, recorded or not.
    pub(crate) declared: Vec<&'static str>,
    /// `name=value`, in the order of recording. Strings are quoted; what `%` and `?` made is not.
    pub(crate) fields: Vec<String>,
    pub(crate) follows: Vec<&'static str>,
}

#[derive(Default)]
struct Log {
    spans: Vec<(Id, Span)>,
    steps: Vec<String>,
}

/// What was seen under one [`Recorder`].
#[derive(Clone, Default)]
pub(crate) struct Recorder(Arc<Mutex<Log>>);

impl Recorder {
    /// The recorder as a subscriber that wants everything up to `level`.
    pub(crate) fn dispatch(&self, level: LevelFilter) -> Dispatch {
        Dispatch::new(tracing_subscriber::registry().with(level).with(self.clone()))
    }

    /// All spans, in the order of their making.
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.0.lock().unwrap().spans.iter().map(|(_, span)| span.clone()).collect()
    }

    /// The only span.
    pub(crate) fn span(&self) -> Span {
        let spans = self.spans();
        assert_eq!(spans.len(), 1, "{spans:#?}");
        spans[0].clone()
    }

    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.spans().iter().map(|span| span.name).collect()
    }

    /// `enter a`, `exit a`, `close a`, `LEVEL field=value` (an event, with the span it is in), in order.
    pub(crate) fn steps(&self) -> Vec<String> {
        self.0.lock().unwrap().steps.clone()
    }

    fn step(&self, what: &str, id: &Id) {
        let mut log = self.0.lock().unwrap();
        let name = log.named(id);
        log.steps.push(format!("{what} {name}"));
    }
}

impl Log {
    /// Ids are used again after a span closes: the last one made is meant.
    fn named(&self, id: &Id) -> &'static str {
        self.spans.iter().rev().find(|(other, _)| other == id).map_or("?", |(_, span)| span.name)
    }
}

/// Runs the code with every span recorded.
pub(crate) fn record<R>(code: impl FnOnce() -> R) -> (R, Recorder) {
    record_up_to(LevelFilter::TRACE, code)
}

pub(crate) fn record_up_to<R>(level: LevelFilter, code: impl FnOnce() -> R) -> (R, Recorder) {
    let recorder = Recorder::default();
    let result = tracing::dispatcher::with_default(&recorder.dispatch(level), code);
    (result, recorder)
}

/// Writes a line of the log from inside the code that runs.
pub(crate) fn say(what: &'static str) {
    tracing::trace!(target: "say", "{what}");
}

/// Says so when it is dropped.
pub(crate) struct Noisy(pub(crate) &'static str);

impl Drop for Noisy {
    fn drop(&mut self) {
        say(self.0);
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Recorder {
    fn on_new_span(&self, attrs: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        let meta = attrs.metadata();
        let parent = ctx.span(id).and_then(|span| span.parent().map(|parent| parent.name()));
        let mut values = Values::default();
        attrs.record(&mut values);
        let span = Span {
            name: meta.name(),
            target: meta.target(),
            level: *meta.level(),
            parent,
            declared: meta.fields().iter().map(|field| field.name()).collect(),
            fields: values.0,
            follows: Vec::new(),
        };
        self.0.lock().unwrap().spans.push((id.clone(), span));
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, _: Context<'_, S>) {
        let mut values = Values::default();
        record.record(&mut values);
        let mut log = self.0.lock().unwrap();
        let span = log.spans.iter_mut().rev().find(|(other, _)| other == id).unwrap();
        span.1.fields.extend(values.0);
    }

    fn on_follows_from(&self, id: &Id, cause: &Id, _: Context<'_, S>) {
        let mut log = self.0.lock().unwrap();
        let cause = log.named(cause);
        let span = log.spans.iter_mut().rev().find(|(other, _)| other == id).unwrap();
        span.1.follows.push(cause);
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        let mut values = Values::default();
        event.record(&mut values);
        let meta = event.metadata();
        let mut line = if meta.target() == "say" {
            values.0[0].trim_start_matches("message=").to_owned()
        } else {
            format!("{} {}", meta.level(), values.0.join(" "))
        };
        if let Some(span) = ctx.event_span(event) {
            write!(line, " in {}", span.name()).unwrap();
        }
        self.0.lock().unwrap().steps.push(line);
    }

    fn on_enter(&self, id: &Id, _: Context<'_, S>) {
        self.step("enter", id);
    }

    fn on_exit(&self, id: &Id, _: Context<'_, S>) {
        self.step("exit", id);
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        self.step("close", &id);
    }
}

#[derive(Default)]
struct Values(Vec<String>);

impl Visit for Values {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.push(format!("{}={value:?}", field.name()));
    }
}
