//! What the profiler says of itself, and that it does not talk to itself: counters as metrics, messages as events, and
//! nothing that an exporter's HTTP client does comes back as a span of the program.
//!
//! The only test of its process: it sets the global subscriber, since the profiler's threads see no other.
#![allow(clippy::unwrap_used)] // Helpers of tests, outside of test functions.

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData, ResourceMetrics};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use profile_core::diag;
use profile_core::profile::Profile;
use profile_core::stats::StatsSnapshot;
use profile_layer::{ExportError, ExportReceipt, ProfileBatch, ProfileExporter, Profiler, SpanPath};
use profile_tests::clock::burn;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::Context;
use tracing_subscriber::prelude::*;

const TIMEOUT: Duration = Duration::from_secs(60);

#[inline(never)]
fn send_request() {
    burn(Duration::from_millis(300)).unwrap();
}

/// Takes one batch and refuses all others, and is as noisy about it as an instrumented HTTP client.
struct Noisy {
    takes: bool,
}

impl ProfileExporter for Noisy {
    fn name(&self) -> &str {
        "noisy"
    }

    fn export(&mut self, _: &ProfileBatch, _: Instant) -> Result<ExportReceipt, ExportError> {
        let _request = tracing::info_span!(target: "http_client", "http request").entered();
        tracing::info!(target: "http_client", "sending");
        send_request();
        if std::mem::take(&mut self.takes) {
            Ok(ExportReceipt::new(1234))
        } else {
            Err(ExportError::rejected("not today"))
        }
    }
}

/// Keeps all spans and events, and answers every event of the profiler with another message, as a layer might that makes
/// use of a profiler itself.
#[derive(Clone, Default)]
struct Everything(Arc<Mutex<Vec<String>>>);

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

impl<S: Subscriber> tracing_subscriber::Layer<S> for Everything {
    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        self.0.lock().unwrap().push(format!("span {}", attributes.metadata().name()));
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        let metadata = event.metadata();
        let text = format!("{} {}: {}", metadata.level(), metadata.target(), text.0);
        let number = {
            let mut kept = self.0.lock().unwrap();
            kept.push(text);
            kept.len()
        };
        // A key of its own each time, so that nothing but the profiler keeps this from going on for ever.
        diag::warn(&number.to_string(), format_args!("an answer"));
    }
}

#[test]
fn exporters_are_not_profiled_or_traced_and_messages_become_events_and_counters_metrics() {
    let (everything, traces) = (Everything::default(), InMemorySpanExporter::default());
    let tracer = SdkTracerProvider::builder().with_simple_exporter(traces.clone()).build();
    let profiler = Profiler::builder().with_frequency(997).with_window(TIMEOUT);
    let directory = tempfile::tempdir().unwrap();
    let profiler = profiler.with_exporter(Noisy { takes: true }).with_spool(directory.path(), 1 << 20);
    let profiler = profiler.build().unwrap();
    let metrics = InMemoryMetricExporter::default();
    let meters =
        SdkMeterProvider::builder().with_reader(PeriodicReader::builder(metrics.clone()).build()).build();
    profiler.register_metrics(&meters);
    let subscriber = tracing_subscriber::registry()
        .with(everything.clone())
        .with(tracing_opentelemetry::layer().with_tracer(tracer.tracer("test")));
    tracing::subscriber::set_global_default(subscriber.with(profiler.layer())).unwrap();

    tracing::info_span!("work").in_scope(|| burn(Duration::from_millis(300)).unwrap());
    profiler.force_flush(TIMEOUT).unwrap();
    // The second window has what the export of the first one did; its own export is refused.
    let second = profiler.collect(TIMEOUT).unwrap().unwrap();
    assert!(profiler.force_flush(TIMEOUT).unwrap_err().to_string().contains("not today"));

    let sent = weight_inside(&second, "send_request");
    let linked = second.samples().filter(|sample| sample.context().span != SpanPath::NONE);
    assert!(sent >= 100, "300 ms at 997 Hz: {sent} samples of the exporter's own work");
    assert_eq!(linked.count(), 0, "the exporter's span labels nothing");
    let report = profiler.report();
    let followed: Vec<_> = report.spans().map(|span| (span.name.as_str(), span.seen)).collect();
    assert_eq!(followed, [("work", 1)]);
    let traced: Vec<_> = traces.get_finished_spans().unwrap().into_iter().map(|span| span.name).collect();
    assert_eq!(traced, ["work"], "nor does it become a trace");

    let kept = everything.0.lock().unwrap().clone();
    assert!(kept.contains(&"span http request".to_owned()), "other layers see what they would: {kept:?}");
    let count = |text: &str| kept.iter().filter(|kept| kept.contains(text)).count();
    assert!(
        count("WARN profile: noisy: ") >= 1 && count("dropped: not today") == count(" profile: noisy: "),
        "{kept:?}"
    );
    // An event of the program's may be answered by one of the profiler; that answer is answered on standard error.
    assert_eq!(count("WARN profile: an answer"), count("INFO http_client: sending"), "{kept:?}");

    // From here on no counter moves.
    // What is left is refused, if there is any.
    drop(profiler.shutdown_with_timeout(TIMEOUT));
    meters.force_flush().unwrap();
    let exported = metrics.get_finished_metrics().unwrap();
    let stats = profiler.stats();
    let of_exporter = &stats.exporters[0];
    assert_eq!(
        (of_exporter.exported, of_exporter.batches, of_exporter.bytes_sent),
        (1, 1, 1234),
        "{stats:?}"
    );
    assert!(of_exporter.dropped.rejected >= 1 && of_exporter.waiting() == 0, "{stats:?}");
    assert!(of_exporter.spool.written >= 2 && of_exporter.spool.refused == 0, "{stats:?}");
    assert!(stats.samples_taken >= 200 && stats.windows >= 2, "{stats:?}");
    assert_eq!(values(exported.last().unwrap()), expected(&stats));
    drop(profiler);
    metrics.reset();
    meters.force_flush().unwrap();
    let after = metrics.get_finished_metrics().unwrap();
    assert!(
        after.iter().all(|data| values(data).is_empty()),
        "a profiler that is gone is not kept by its metrics"
    );
}

/// The weight of the samples inside of functions of that name.
fn weight_inside(profile: &Profile, name: &str) -> u64 {
    let inside = profile.samples().filter(|sample| {
        sample.frames().filter_map(|frame| frame.function()).any(|function| function.ends_with(name))
    });
    inside.map(|sample| sample.weight()).sum()
}

/// Every value of our instruments, by name and attributes.
fn values(metrics: &ResourceMetrics) -> BTreeMap<String, u64> {
    let mut values = BTreeMap::new();
    for metric in metrics.scope_metrics().flat_map(|scope| scope.metrics()) {
        let mut keep = |labels: Vec<&KeyValue>, value| {
            let mut labels: Vec<_> =
                labels.iter().map(|label| format!("{}={}", label.key, label.value)).collect();
            labels.sort();
            values.insert(format!("{} {}", metric.name(), labels.join(" ")), value);
        };
        match metric.data() {
            AggregatedMetrics::U64(MetricData::Sum(sum)) => {
                assert!(sum.is_monotonic(), "{}", metric.name());
                sum.data_points().for_each(|point| keep(point.attributes().collect(), point.value()));
            }
            AggregatedMetrics::U64(MetricData::Gauge(gauge)) => {
                gauge.data_points().for_each(|point| keep(point.attributes().collect(), point.value()));
            }
            _ => {}
        }
    }
    values
}

/// The counters, as metrics.
fn expected(stats: &StatsSnapshot) -> BTreeMap<String, u64> {
    let of_exporter = &stats.exporters[0];
    let mut values = BTreeMap::from([
        ("profiler.samples ".to_owned(), stats.samples_taken),
        ("profiler.samples.weight ".to_owned(), stats.weight_taken),
        ("profiler.samples.lost ".to_owned(), stats.weight_lost_ring_full),
        ("profiler.stacks.incomplete reason=truncated".to_owned(), stats.truncated_stacks),
        ("profiler.stacks.incomplete reason=broken".to_owned(), stats.broken_stacks),
        ("profiler.stacks.incomplete reason=unready".to_owned(), stats.unready_stacks),
        ("profiler.windows ".to_owned(), stats.windows),
        ("profiler.windows.lost ".to_owned(), stats.windows_lost),
        ("profiler.export.given exporter=noisy".to_owned(), of_exporter.given),
        ("profiler.export.exported exporter=noisy".to_owned(), of_exporter.exported),
        ("profiler.export.batches exporter=noisy".to_owned(), of_exporter.batches),
        ("profiler.export.retries exporter=noisy".to_owned(), of_exporter.retries),
        ("profiler.export.bytes exporter=noisy".to_owned(), of_exporter.bytes_sent),
        ("profiler.spool.written exporter=noisy".to_owned(), of_exporter.spool.written),
        ("profiler.spool.replayed exporter=noisy".to_owned(), of_exporter.spool.replayed),
        ("profiler.spool.dropped exporter=noisy reason=refused".to_owned(), of_exporter.spool.refused),
        ("profiler.spool.dropped exporter=noisy reason=corrupt".to_owned(), of_exporter.spool.corrupt),
        ("profiler.spool.size exporter=noisy".to_owned(), of_exporter.spool.bytes),
    ]);
    for (why, count) in of_exporter.dropped.by_reason() {
        values.insert(format!("profiler.export.dropped exporter=noisy reason={why}"), count);
    }
    values
}
