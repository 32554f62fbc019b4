//! A profiler that is none.

use super::{
    Explanation, Profile, ProfileExporter, ProfileProcessor, Reason, Result, SpanContext, SpanScope,
    TraceParent,
};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;
use tracing::{Level, Span, Subscriber};
use tracing_subscriber::registry::LookupSpan;

/// A profiler that does nothing: the feature `enable` is off.
#[derive(Debug)]
#[must_use = "a profiler that is dropped stops profiling"]
pub struct Profiler {
    collector: ProfileCollector,
}

/// Builds a [`Profiler`].
#[must_use = "a builder does nothing until build is called"]
pub struct ProfilerBuilder<P = Profiler>(PhantomData<fn() -> P>);

/// Collects nothing.
#[derive(Debug)]
pub struct ProfileCollector(());

/// A layer that hears nothing and wants nothing: to the rest of a subscriber it is as if it were not there.
#[derive(Debug)]
pub struct ProfileLayer(());

/// What is true of the whole process.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resource(());

/// CPU time by span name: none.
#[derive(Clone, Debug, Default)]
pub struct Report(());

/// What is known about the spans of one name.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SpanReport {
    pub name: String,
    pub seen: u64,
    pub cpu_total: Duration,
    pub cpu_self: Duration,
    pub share: f64,
    pub hottest: String,
}

/// The state of a profiler.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    pub sampling: bool,
    pub frequency: u32,
    pub engine: Engine,
    pub threads_sampled: usize,
    pub threads_without_timer: usize,
    pub problems: Vec<String>,
    pub remark: Option<String>,
}

/// What decides when a thread is sampled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Engine {
    #[default]
    CpuTimer,
    Perf,
    Auto,
}

/// The counters of a profiler.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatsSnapshot {
    pub samples_taken: u64,
    pub weight_taken: u64,
    pub weight_lost_ring_full: u64,
    pub weight_unlabelled: u64,
    pub weight_unlabelled_early: u64,
    pub truncated_stacks: u64,
    pub broken_stacks: u64,
    pub unready_stacks: u64,
    pub corrupt_words: u64,
    pub windows: u64,
    pub windows_lost: u64,
    pub exporters: Vec<ExporterSnapshot>,
}

/// The counters of an exporter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExporterSnapshot {
    pub name: String,
    pub given: u64,
    pub exported: u64,
    pub dropped: DropSnapshot,
    pub batches: u64,
    pub bytes_sent: u64,
    pub retries: u64,
}

/// Profiles that were not delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DropSnapshot {
    pub queue_full: u64,
    pub rejected: u64,
    pub expired: u64,
    pub shutdown: u64,
    pub panicked: u64,
}

/// What a status says.
const DISABLED: &str = "no profiler is built in: the feature `enable` of profile-layer is off";

/// Does nothing, and sets no subscriber.
pub fn init() -> Result<Profiler> {
    Profiler::builder().build()
}

/// No span is followed.
pub fn current() -> Option<SpanContext> {
    None
}

/// There are no samples that could be in another trace.
pub fn set_remote_parent(_: &Span, _: TraceParent) -> Result<()> {
    Ok(())
}

impl Resource {
    pub const fn empty() -> Self {
        Self(())
    }
}

impl Profiler {
    pub fn builder() -> ProfilerBuilder<Self> {
        ProfilerBuilder::new()
    }

    pub fn layer(&self) -> ProfileLayer {
        ProfileLayer(())
    }

    pub const fn collector(&self) -> &ProfileCollector {
        &self.collector
    }

    pub fn collect(&self, timeout: Duration) -> Result<Option<Arc<Profile>>> {
        self.collector.collect(timeout)
    }

    pub fn force_flush(&self, _: Duration) -> Result<()> {
        Ok(())
    }

    pub fn shutdown(&self) -> Result<()> {
        Ok(())
    }

    pub fn shutdown_with_timeout(&self, _: Duration) -> Result<()> {
        Ok(())
    }

    pub fn report(&self) -> Report {
        Report::default()
    }

    pub fn explain(&self, span: &str) -> Explanation {
        let reasons = vec![Reason::EngineOff(DISABLED.into())];
        Explanation { span: span.to_owned(), spans: 0, cpu: Duration::ZERO, reasons }
    }

    pub fn stats(&self) -> StatsSnapshot {
        StatsSnapshot::default()
    }

    pub fn status(&self) -> Status {
        Status {
            sampling: false,
            frequency: 0,
            threads_sampled: 0,
            threads_without_timer: 0,
            engine: Engine::default(),
            remark: None,
            problems: vec![DISABLED.to_owned()],
        }
    }

    #[cfg(feature = "metrics")]
    pub fn register_metrics(&self, _: &dyn opentelemetry::metrics::MeterProvider) {}

    #[cfg(feature = "metrics")]
    pub fn register_global_metrics(&self) {}
}

impl<P: From<Profiler>> ProfilerBuilder<P> {
    pub fn new() -> Self {
        Self(PhantomData)
    }

    pub fn with_service_name(self, _: impl Into<String>) -> Self {
        self
    }

    pub fn with_resource_attribute(self, _: impl Into<String>, _: impl Into<String>) -> Self {
        self
    }

    /// Whatever becomes a resource in a program that profiles.
    pub fn with_resource<R>(self, _: R) -> Self {
        self
    }

    pub fn with_frequency(self, _: u32) -> Self {
        self
    }

    pub fn with_window(self, _: Duration) -> Self {
        self
    }

    pub fn with_engine(self, _: Engine) -> Self {
        self
    }

    pub fn with_span_scope(self, _: SpanScope) -> Self {
        self
    }

    pub fn with_sampled_only(self) -> Self {
        self
    }

    pub fn with_min_span_duration(self, _: Duration) -> Self {
        self
    }

    pub fn with_exporter(self, _: impl ProfileExporter + 'static) -> Self {
        self
    }

    pub fn with_processor(self, _: impl ProfileProcessor + 'static) -> Self {
        self
    }

    pub fn with_report_on_exit(self) -> Self {
        self
    }

    pub fn build(self) -> Result<P> {
        Ok(P::from(Profiler { collector: ProfileCollector(()) }))
    }
}

impl<P: From<Profiler>> Default for ProfilerBuilder<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P> fmt::Debug for ProfilerBuilder<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProfilerBuilder")
    }
}

impl ProfileCollector {
    pub fn start(&self) -> Result<()> {
        Ok(())
    }

    pub fn stop(&self) -> Result<()> {
        Ok(())
    }

    pub fn is_running(&self) -> bool {
        false
    }

    pub fn collect(&self, _: Duration) -> Result<Option<Arc<Profile>>> {
        Ok(None)
    }
}

impl ProfileLayer {
    pub fn with_max_level(self, _: Level) -> Self {
        self
    }

    pub fn with_target(self, _: impl Into<String>) -> Self {
        self
    }

    pub fn with_span_names<N: Into<String>>(self, _: impl IntoIterator<Item = N>) -> Self {
        self
    }
}

impl<S> tracing_subscriber::Layer<S> for ProfileLayer where S: Subscriber + for<'a> LookupSpan<'a> {}

impl Report {
    pub fn spans(&self) -> impl Iterator<Item = &SpanReport> {
        std::iter::empty()
    }

    pub fn unprofiled(&self) -> &[Explanation] {
        &[]
    }

    pub const fn cpu(&self) -> Duration {
        Duration::ZERO
    }

    pub const fn outside_spans(&self) -> Duration {
        Duration::ZERO
    }

    pub const fn without_samples(&self) -> Duration {
        Duration::ZERO
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(DISABLED)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(DISABLED)
    }
}
