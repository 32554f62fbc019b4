//! What following spans costs, in instructions: `scripts/layer-cost` runs this under callgrind, once for each stack of
//! layers, and compares. Instructions do not depend on what else the machine does.
//!
//! Each of the functions called `measured_…` does its work [`TIMES`] times, and they follow each other without anything in
//! between: the script has the counts written at the beginning of each.
#![allow(clippy::unwrap_used, clippy::print_stderr)] // A measuring program, not part of the profiler.

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use profile_layer::Profiler;
use std::hint::black_box;
use std::process::ExitCode;
use tracing::level_filters::LevelFilter;
use tracing::{Span, Subscriber};
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry, fmt};

const TIMES: u32 = 1000;

fn main() -> ExitCode {
    let stack = std::env::args().nth(1).unwrap_or_default();
    let profiler = Profiler::builder().build().unwrap();
    // No signal comes in between.
    profiler.collector().stop().unwrap();
    let otel = || SdkTracerProvider::builder().build().tracer("cost");
    let traced = || tracing_subscriber::registry().with(tracing_opentelemetry::layer().with_tracer(otel()));
    let global = || tracing_subscriber::registry().with(LevelFilter::INFO).with(to_nowhere());
    let filtered = || tracing_subscriber::registry().with(to_nowhere().with_filter(LevelFilter::INFO));
    match &*stack {
        "registry" => install(tracing_subscriber::registry()),
        "empty" => install(tracing_subscriber::registry().with(Empty)),
        "ours" => install(tracing_subscriber::registry().with(profiler.layer())),
        "otel" => install(traced()),
        "otel+ours" => install(traced().with(profiler.layer())),
        "global" => install(global()),
        "global+ours" => install(global().with(profiler.layer())),
        "filtered" => install(filtered()),
        "filtered+ours" => install(filtered().with(profiler.layer())),
        unknown => {
            eprintln!("{unknown:?} is not the name of a stack of layers");
            return ExitCode::FAILURE;
        }
    }
    let request = tracing::info_span!("request");
    let _in_request = request.enter();
    let step = tracing::info_span!("step");
    for _ in 0..2 {
        // The second time everything is warm. The script takes the last figure of each function.
        measured_pair(&step);
        measured_span();
        measured_trace_event();
        measured_debug_span();
        measured_end();
    }
    ExitCode::SUCCESS
}

#[inline(never)]
fn measured_pair(step: &Span) {
    for _ in 0..TIMES {
        let _in_step = black_box(step).enter();
    }
}

#[inline(never)]
fn measured_span() {
    for _ in 0..TIMES {
        let _in_step = tracing::info_span!("step").entered();
    }
}

#[inline(never)]
fn measured_trace_event() {
    for i in 0..TIMES {
        tracing::trace!(i = black_box(i), "disabled");
    }
}

#[inline(never)]
fn measured_debug_span() {
    for i in 0..TIMES {
        black_box(tracing::debug_span!("disabled", i = black_box(i)));
    }
}

#[inline(never)]
fn measured_end() {
    black_box(());
}

fn install(subscriber: impl Subscriber + Send + Sync) {
    tracing::subscriber::set_global_default(subscriber).unwrap();
}

fn to_nowhere<S: Subscriber + for<'a> LookupSpan<'a>>() -> impl Layer<S> {
    fmt::layer().with_writer(std::io::sink)
}

/// A layer that does nothing.
struct Empty;

impl Layer<Registry> for Empty {
    fn on_enter(&self, id: &tracing::span::Id, _: tracing_subscriber::layer::Context<'_, Registry>) {
        black_box(id);
    }

    fn on_exit(&self, id: &tracing::span::Id, _: tracing_subscriber::layer::Context<'_, Registry>) {
        black_box(id);
    }
}
