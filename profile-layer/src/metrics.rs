//! The profiler's counters as OpenTelemetry metrics: observable instruments, read when a reader collects.
//!
//! | instrument | unit | attributes |
//! |---|---|---|
//! | `profiler.samples` | `{sample}` | |
//! | `profiler.samples.weight` | `{period}` | |
//! | `profiler.samples.lost` | `{period}` | |
//! | `profiler.stacks.incomplete` | `{sample}` | `reason`: `truncated`, `broken`, `unready` |
//! | `profiler.windows`, `profiler.windows.lost` | `{window}` | |
//! | `profiler.export.given`, `profiler.export.exported` | `{profile}` | `exporter` |
//! | `profiler.export.dropped` | `{profile}` | `exporter`, `reason` |
//! | `profiler.export.batches`, `profiler.export.retries` | `{request}` | `exporter` |
//! | `profiler.export.bytes` | `By` | `exporter` |
//! | `profiler.spool.written`, `profiler.spool.replayed` | `{profile}` | `exporter` |
//! | `profiler.spool.dropped` | `{profile}` | `exporter`, `reason`: `refused`, `corrupt` |
//! | `profiler.spool.size`, which also falls | `By` | `exporter` |
//!
//! What they count is what [`StatsSnapshot`] says. The semantic conventions have no names for profilers yet.

use crate::Profiler;
use opentelemetry::metrics::{AsyncInstrument, Meter, MeterProvider};
use opentelemetry::{InstrumentationScope, KeyValue, global};
use profile_core::stats::{ExporterSnapshot, Stats, StatsSnapshot};
use std::sync::{Arc, Weak};

/// The name of the meter.
const SCOPE: &str = env!("CARGO_PKG_NAME");

type Observer<'a> = &'a dyn AsyncInstrument<u64>;

impl Profiler {
    /// Has `provider` observe the profiler's counters, for as long as the profiler exists. Once for each provider.
    pub fn register_metrics(&self, provider: &dyn MeterProvider) {
        let scope = InstrumentationScope::builder(SCOPE).with_version(env!("CARGO_PKG_VERSION")).build();
        instruments(&provider.meter_with_scope(scope), &self.counters());
    }

    /// Has OpenTelemetry's global meter provider observe the profiler's counters: the one that is set when this is called.
    pub fn register_global_metrics(&self) {
        let scope = InstrumentationScope::builder(SCOPE).with_version(env!("CARGO_PKG_VERSION")).build();
        instruments(&global::meter_with_scope(scope), &self.counters());
    }
}

fn instruments(meter: &Meter, stats: &Arc<Stats>) {
    let counter = |name, unit, description, read: fn(&StatsSnapshot, Observer<'_>)| {
        let counter = meter.u64_observable_counter(name).with_unit(unit).with_description(description);
        counter.with_callback(observer(stats, read)).build();
    };
    counter("profiler.samples", "{sample}", "Samples taken", |stats, to| {
        to.observe(stats.samples_taken, &[]);
    });
    counter("profiler.samples.weight", "{period}", "Periods that the samples stand for", |stats, to| {
        to.observe(stats.weight_taken, &[]);
    });
    counter("profiler.samples.lost", "{period}", "Periods lost because a ring was full", |stats, to| {
        to.observe(stats.weight_lost_ring_full, &[]);
    });
    counter("profiler.stacks.incomplete", "{sample}", "Samples whose stack is not complete", |stats, to| {
        to.observe(stats.truncated_stacks, &[reason("truncated")]);
        to.observe(stats.broken_stacks, &[reason("broken")]);
        to.observe(stats.unready_stacks, &[reason("unready")]);
    });
    counter("profiler.windows", "{window}", "Windows closed", |stats, to| to.observe(stats.windows, &[]));
    counter("profiler.windows.lost", "{window}", "Windows lost before they were profiles", |stats, to| {
        to.observe(stats.windows_lost, &[]);
    });
    counter("profiler.export.given", "{profile}", "Profiles handed to the exporter", |stats, to| {
        each(stats, to, |exporter| exporter.given);
    });
    counter("profiler.export.exported", "{profile}", "Profiles that the destination took", |stats, to| {
        each(stats, to, |exporter| exporter.exported);
    });
    counter("profiler.export.dropped", "{profile}", "Profiles that were not delivered", dropped);
    counter("profiler.export.batches", "{request}", "Requests that the destination took", |stats, to| {
        each(stats, to, |exporter| exporter.batches);
    });
    counter("profiler.export.retries", "{request}", "Attempts after the first one", |stats, to| {
        each(stats, to, |exporter| exporter.retries);
    });
    counter("profiler.export.bytes", "By", "Bytes of the bodies of these requests, as sent", |stats, to| {
        each(stats, to, |exporter| exporter.bytes_sent);
    });
    counter("profiler.spool.written", "{profile}", "Profiles written to disk", |stats, to| {
        each(stats, to, |exporter| exporter.spool.written);
    });
    counter("profiler.spool.replayed", "{profile}", "Profiles delivered from disk", |stats, to| {
        each(stats, to, |exporter| exporter.spool.replayed);
    });
    counter("profiler.spool.dropped", "{profile}", "Profiles that the disk did not keep", |stats, to| {
        for exporter in &stats.exporters {
            to.observe(exporter.spool.refused, &[name(exporter), reason("refused")]);
            to.observe(exporter.spool.corrupt, &[name(exporter), reason("corrupt")]);
        }
    });
    let size = meter.u64_observable_gauge("profiler.spool.size").with_unit("By");
    let size = size.with_description("What the files on disk take");
    size.with_callback(observer(stats, |stats, to| each(stats, to, |exporter| exporter.spool.bytes))).build();
}

/// What an instrument calls to be told.
fn observer(stats: &Arc<Stats>, read: fn(&StatsSnapshot, Observer<'_>)) -> impl Fn(Observer<'_>) + use<> {
    // A provider keeps its callbacks for good; it must not keep the counters of a profiler that is gone.
    let stats: Weak<Stats> = Arc::downgrade(stats);
    move |observer| {
        if let Some(stats) = stats.upgrade() {
            read(&stats.snapshot(), observer);
        }
    }
}

fn each(stats: &StatsSnapshot, to: Observer<'_>, count: fn(&ExporterSnapshot) -> u64) {
    stats.exporters.iter().for_each(|exporter| to.observe(count(exporter), &[name(exporter)]));
}

fn dropped(stats: &StatsSnapshot, to: Observer<'_>) {
    for exporter in &stats.exporters {
        for (why, count) in exporter.dropped.by_reason() {
            to.observe(count, &[name(exporter), reason(why)]);
        }
    }
}

/// The name holds no secrets.
fn name(exporter: &ExporterSnapshot) -> KeyValue {
    KeyValue::new("exporter", exporter.name.clone())
}

fn reason(why: &'static str) -> KeyValue {
    KeyValue::new("reason", why)
}
