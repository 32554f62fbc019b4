//! The layer among others: what it selects concerns nobody else, and what nobody wants stays cheap.
#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests, outside of test functions.

use profile_layer::{ProfileLayer, Profiler, SpanId, TraceFlags, TraceId, TraceParent};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id};
use tracing::{Dispatch, Level, Subscriber};
use tracing_subscriber::layer::Context;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{Layer, Registry, fmt};

/// A process has one profiler, so these tests take turns; the most verbose level is the process's too.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps the names of the spans and events that it gets.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<BTreeSet<&'static str>>>);

impl<S: Subscriber> Layer<S> for Seen {
    fn on_new_span(&self, span: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        self.0.lock().unwrap().insert(span.metadata().name());
    }

    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        self.0.lock().unwrap().insert(event.metadata().name());
    }
}

impl Seen {
    fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.0.lock().unwrap()).into_iter().collect()
    }
}

fn emit() {
    let _info = tracing::info_span!("info span").entered();
    let _debug = tracing::debug_span!("debug span").entered();
    tracing::event!(name: "debug event", Level::DEBUG, "");
    tracing::event!(name: "trace event", Level::TRACE, "");
}

const EVERYTHING: [&str; 4] = ["debug event", "debug span", "info span", "trace event"];

/// The most selective layer there is.
fn selective(profiler: &Profiler) -> ProfileLayer {
    profiler.layer().with_max_level(Level::ERROR).with_target("nowhere").with_span_names(["nothing"])
}

#[test]
fn no_selection_takes_anything_from_other_layers_in_any_order() {
    let _turn = turn();
    let profiler = Profiler::builder().build().unwrap();
    let seen = Seen::default();
    let stacks = [
        Dispatch::new(Registry::default().with(seen.clone()).with(selective(&profiler))),
        Dispatch::new(Registry::default().with(selective(&profiler)).with(seen.clone())),
        Dispatch::new(
            Registry::default().with(selective(&profiler)).with(seen.clone()).with(profiler.layer()),
        ),
        Dispatch::new(Registry::default().with(vec![seen.clone().boxed(), selective(&profiler).boxed()])),
        Dispatch::new(Registry::default().with(seen.clone().and_then(selective(&profiler)))),
    ];
    for (number, stack) in stacks.iter().enumerate() {
        tracing::dispatcher::with_default(stack, emit);
        assert_eq!(seen.take(), EVERYTHING, "stack {number}");
    }
    drop(stacks);
    // A layer behind a filter of its own gets what the filter lets through, no less and no more.
    for first in [true, false] {
        let stack = if first {
            let filtered = seen.clone().with_filter(LevelFilter::DEBUG);
            Dispatch::new(Registry::default().with(selective(&profiler)).with(filtered))
        } else {
            let filtered = seen.clone().with_filter(LevelFilter::DEBUG);
            Dispatch::new(Registry::default().with(filtered).with(selective(&profiler)))
        };
        tracing::dispatcher::with_default(&stack, emit);
        assert_eq!(seen.take(), ["debug event", "debug span", "info span"], "ours first: {first}");
    }
    profiler.shutdown().unwrap();
}

#[test]
fn what_nobody_wants_is_off_at_the_call_site() {
    let _turn = turn();
    let profiler = Profiler::builder().build().unwrap();
    let global = || Registry::default().with(LevelFilter::WARN).with(fmt::layer().with_writer(std::io::sink));
    let filtered = || {
        let quiet = fmt::layer().with_writer(std::io::sink);
        Registry::default().with(quiet.with_filter(LevelFilter::WARN))
    };
    let most_verbose = |stack: Dispatch| tracing::dispatcher::with_default(&stack, LevelFilter::current);
    assert_eq!(most_verbose(Dispatch::new(global().with(profiler.layer()))), LevelFilter::INFO);
    assert_eq!(most_verbose(Dispatch::new(filtered().with(profiler.layer()))), LevelFilter::INFO);
    let errors = || profiler.layer().with_max_level(Level::ERROR);
    assert_eq!(most_verbose(Dispatch::new(global().with(errors()))), LevelFilter::WARN);
    assert_eq!(most_verbose(Dispatch::new(filtered().with(errors()))), LevelFilter::WARN);
    let debug = || profiler.layer().with_max_level(Level::DEBUG);
    assert_eq!(most_verbose(Dispatch::new(filtered().with(debug()))), LevelFilter::DEBUG);
    profiler.shutdown().unwrap();
}

/// The ids in a span, if it is followed: not those of the span around it.
fn ids_in(span: &tracing::Span) -> Option<SpanId> {
    let around = profile_layer::current();
    span.in_scope(|| profile_layer::current().filter(|ids| Some(*ids) != around).map(|ids| ids.span_id))
}

#[test]
fn selected_spans_are_followed_and_others_count_for_the_span_around_them() {
    let _turn = turn();
    let profiler = Profiler::builder().build().unwrap();
    let layer = profiler.layer().with_max_level(Level::INFO).with_target("shop").with_target("bank");
    let layer = layer.with_span_names(["order", "payment"]).with_span_names(["refund"]);
    tracing::subscriber::with_default(Registry::default().with(layer), || {
        let order = tracing::info_span!(target: "shop::cart", "order");
        let _in_order = order.enter();
        let trace = profile_layer::current().unwrap().trace_id;
        assert!(ids_in(&tracing::info_span!(target: "bank", "refund")).is_some());
        let other_level = tracing::debug_span!(target: "bank", "payment");
        let other_target = tracing::info_span!(target: "shopping", "payment");
        let other_name = tracing::info_span!(target: "shop", "packing");
        for left_out in [&other_level, &other_target, &other_name] {
            assert_eq!(ids_in(left_out), None, "{left_out:?}");
        }
        // Through spans that are left out, a span finds the one around it.
        let _in_left_out = other_name.enter();
        tracing::info_span!(target: "bank", "payment").in_scope(|| {
            assert_eq!(profile_layer::current().unwrap().trace_id, trace);
        });
    });
    profiler.shutdown().unwrap();
}

#[test]
fn a_request_keeps_its_trace_from_process_to_process() {
    let _turn = turn();
    let profiler = Profiler::builder().build().unwrap();
    let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let parent = TraceParent::parse(header).unwrap();
    let no_layer = tracing::info_span!("outside every subscriber");
    assert!(profile_layer::set_remote_parent(&no_layer, parent).is_err());
    let subscriber = Registry::default().with(profiler.layer().with_span_names(["request", "step"]));
    tracing::subscriber::with_default(subscriber, || {
        let request = tracing::info_span!("request");
        profile_layer::set_remote_parent(&request, parent).unwrap();
        let outgoing = request.in_scope(|| {
            let in_request = TraceParent::new(profile_layer::current().unwrap()).unwrap();
            let outgoing = tracing::info_span!("step")
                .in_scope(|| TraceParent::new(profile_layer::current().unwrap()).unwrap().to_string());
            assert_ne!(in_request.context().span_id, parent.context().span_id);
            outgoing
        });
        assert!(outgoing.starts_with(&header[..36]) && outgoing.ends_with("-01"), "{outgoing}");
        assert!(profile_layer::set_remote_parent(&request, parent).is_err(), "it was entered");
        let left_out = tracing::info_span!("left out");
        assert!(profile_layer::set_remote_parent(&left_out, parent).is_err());
    });
    profiler.shutdown().unwrap();
}

#[test]
#[cfg(feature = "opentelemetry")]
fn once_opentelemetry_gave_ids_none_are_invented() {
    use opentelemetry::trace::{SpanContext, TraceContextExt, TraceState};
    let _turn = turn();
    let profiler = Profiler::builder().build().unwrap();
    tracing::subscriber::with_default(Registry::default().with(profiler.layer()), || {
        let own = tracing::info_span!("before").in_scope(profile_layer::current);
        assert!(own.is_some_and(|ids| ids.flags.is_sampled()));
        let theirs = SpanContext::new(
            opentelemetry::trace::TraceId::from_bytes([7; 16]),
            opentelemetry::trace::SpanId::from_bytes([8; 8]),
            opentelemetry::trace::TraceFlags::SAMPLED,
            true,
            TraceState::NONE,
        );
        let context = opentelemetry::Context::new().with_remote_span_context(theirs).attach();
        let ids = tracing::info_span!("within").in_scope(profile_layer::current).unwrap();
        assert_eq!((ids.trace_id, ids.span_id), (TraceId::from_bytes([7; 16]), SpanId::from_bytes([8; 8])));
        assert_eq!(ids.flags, TraceFlags::SAMPLED);
        drop(context);
        let after = tracing::info_span!("after");
        after.in_scope(|| {
            assert_eq!(profile_layer::current(), None);
            tracing::info_span!("inner").in_scope(|| assert_eq!(profile_layer::current(), None));
        });
    });
    profiler.shutdown().unwrap();
}
