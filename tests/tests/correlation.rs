//! Every sample carries the span that was current when it was taken.
//!
//! Hot functions that only one kind of span calls are the ground truth: a sample inside one must carry that kind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // Helpers of tests, outside of test functions.

use opentelemetry::trace::{SpanContext as OtelContext, TraceContextExt, TraceState, TracerProvider};
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData};
use profile_layer::{Profile, Profiler, SpanId, TraceId};
use profile_tests::clock::burn;
use std::collections::HashMap;
use std::hint::black_box;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tracing::Instrument;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::prelude::*;

const TIMEOUT: Duration = Duration::from_secs(30);
/// Longer than a test, however slow the machine.
const WINDOW: Duration = Duration::from_secs(60);

fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[inline(never)]
fn hot_a(time: Duration) {
    black_box(burn(time).unwrap());
}

#[inline(never)]
fn hot_b(time: Duration) {
    black_box(burn(time).unwrap());
}

/// Weight by (hot function, key of the sample).
fn by_function<K: std::hash::Hash + Eq>(
    profile: &Profile,
    key: impl Fn(&profile_layer::SampleContext) -> K,
) -> HashMap<(&'static str, K), u64> {
    let mut sums = HashMap::new();
    for sample in profile.samples() {
        let inside =
            |name: &str| sample.frames().filter_map(|frame| frame.function()).any(|f| f.ends_with(name));
        let Some(function) = ["hot_a", "hot_b"].into_iter().find(|name| inside(name)) else { continue };
        *sums.entry((function, key(sample.context()))).or_default() += sample.weight();
    }
    sums
}

/// Keeps every span that ends.
#[derive(Clone, Debug, Default)]
struct Keep(Arc<Mutex<Vec<SpanData>>>);

impl opentelemetry_sdk::trace::SpanExporter for Keep {
    async fn export(&self, batch: Vec<SpanData>) -> opentelemetry_sdk::error::OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

#[test]
fn two_requests_of_one_trace_on_one_thread_keep_their_own_local_roots() {
    let _turn = turn();
    let kept = Keep::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(kept.clone()).build();
    let profiler = Profiler::builder().with_frequency(997).with_window(WINDOW).build().unwrap();
    let subscriber = tracing_subscriber::registry()
        .with(tracing_opentelemetry::layer().with_tracer(provider.tracer("test")))
        .with(profiler.layer());
    let trace_id = TraceId::from_bytes([0xab; 16]);
    let remote = |span: u8| {
        let ids = OtelContext::new(
            opentelemetry::trace::TraceId::from_bytes(trace_id.to_bytes()),
            opentelemetry::trace::SpanId::from_bytes([span; 8]),
            opentelemetry::trace::TraceFlags::SAMPLED,
            true,
            TraceState::NONE,
        );
        opentelemetry::Context::new().with_remote_span_context(ids)
    };
    tracing::subscriber::with_default(subscriber, || {
        let requests: Vec<_> = [(1, "request-a"), (2, "request-b")]
            .map(|(caller, name)| {
                let span = tracing::info_span!("request", otel.name = name);
                span.set_parent(remote(caller)).unwrap();
                let step = tracing::info_span!(parent: &span, "step");
                (span, step)
            })
            .into();
        for _ in 0..40 {
            for ((request, step), hot) in requests.iter().zip([hot_a, hot_b]) {
                let _in_request = request.enter();
                let _in_step = step.enter();
                hot(Duration::from_millis(15));
            }
        }
    });
    let profile = profiler.collect(TIMEOUT).unwrap().unwrap();
    profiler.shutdown().unwrap();
    provider.shutdown().unwrap();

    let spans = kept.0.lock().unwrap();
    let root = |name: &str| {
        let span = spans.iter().find(|span| span.name == name).unwrap();
        let id = SpanId::from_bytes(span.span_context.span_id().to_bytes());
        let marked =
            span.attributes.iter().find(|attribute| attribute.key.as_str() == "pyroscope.profile.id");
        assert_eq!(
            marked.unwrap().value.as_str(),
            id.to_string(),
            "the local root is marked with its own id"
        );
        id
    };
    let (a, b) = (root("request-a"), root("request-b"));
    for step in spans.iter().filter(|span| span.name == "step") {
        assert!(step.attributes.iter().all(|attribute| attribute.key.as_str() != "pyroscope.profile.id"));
    }
    let sums = by_function(&profile, |context| (context.trace_id, context.root_id, context.span.name()));
    let right = sums[&("hot_a", (trace_id, a, "step"))] + sums[&("hot_b", (trace_id, b, "step"))];
    let all: u64 = sums.values().sum();
    assert!(all >= 300, "1.2 s of CPU at 997 Hz gave {all} periods");
    assert_eq!(right, all, "{sums:?}");
}

#[test]
fn interleaved_tasks_never_take_each_others_spans() {
    let _turn = turn();
    let profiler = Profiler::builder().with_frequency(997).with_window(WINDOW).build().unwrap();
    let subscriber = tracing_subscriber::registry().with(profiler.layer());
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    async fn task(hot: fn(Duration)) {
        for _ in 0..4 {
            hot(Duration::from_micros(1500));
            tokio::task::yield_now().await;
            async { hot(Duration::from_micros(500)) }.instrument(tracing::info_span!("inner")).await;
            tokio::time::sleep(Duration::from_micros(300)).await;
        }
    }
    let dispatch = tracing::Dispatch::new(subscriber);
    tracing::dispatcher::set_global_default(dispatch).unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..200)
            .map(|i| match i % 2 {
                0 => tokio::spawn(task(hot_a).instrument(tracing::info_span!("kind_a"))),
                _ => tokio::spawn(task(hot_b).instrument(tracing::info_span!("kind_b"))),
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    let profile = profiler.collect(TIMEOUT).unwrap().unwrap();
    profiler.shutdown().unwrap();
    let sums = by_function(&profile, |context| context.root.name());
    let all: u64 = sums.values().sum();
    let count = |function, root| sums.get(&(function, root)).copied().unwrap_or(0);
    let right = count("hot_a", "kind_a") + count("hot_b", "kind_b");
    assert!(all >= 800, "1.6 s of CPU at 997 Hz gave {all} periods");
    // A tick may fall between the entry of the span and that of the function; inside a hot function none may be wrong.
    assert_eq!(right, all, "{sums:?}");
}
