//! Building a profiler: values of the program, then of the environment, then defaults.

use super::Profiler;
use super::collector::{CollectorConfig, ProfileCollector};
use super::report::ReportSums;
use crate::closing::closings;
use crate::collector::Policy;
use crate::config::{self, Environment};
use crate::error::{Error, Result};
use crate::export::{BatchProfileProcessor, ProfileExporter, ProfileProcessor};
use crate::profile::SpanScope;
use crate::resource::{Resource, Value};
use crate::sampler::Engine;
use crate::stats::Stats;
use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Builds a profiler: `P` is what [`build`](Self::build) returns, made from a [`Profiler`].
///
/// Values given here win over the environment (see [`crate::config`]), which wins over defaults. Only `build` fails.
#[must_use = "a builder does nothing until build is called"]
pub struct ProfilerBuilder<P = Profiler> {
    frequency: Option<u32>,
    window: Option<Duration>,
    engine: Option<Engine>,
    scope: SpanScope,
    sampled_only: bool,
    min_span_duration: Option<Duration>,
    resource: Resource,
    exporters: Vec<Box<dyn ProfileExporter>>,
    processors: Vec<Box<dyn ProfileProcessor>>,
    spool: Option<(PathBuf, u64)>,
    report_on_exit: bool,
    builds: PhantomData<fn() -> P>,
}

impl<P: From<Profiler>> ProfilerBuilder<P> {
    /// A builder with nothing set.
    pub fn new() -> Self {
        Self {
            frequency: None,
            window: None,
            engine: None,
            scope: SpanScope::default(),
            sampled_only: false,
            min_span_duration: None,
            resource: Resource::empty(),
            exporters: Vec::new(),
            processors: Vec::new(),
            spool: None,
            report_on_exit: false,
            builds: PhantomData,
        }
    }

    /// The service's name, by which backends find its profiles: the resource attribute `service.name`.
    pub fn with_service_name(self, name: impl Into<String>) -> Self {
        self.with_resource_attribute("service.name", name)
    }

    /// A resource attribute: something that is true of the whole process, such as `deployment.environment.name`.
    pub fn with_resource_attribute(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.resource.set(key, Value::String(value.into()));
        self
    }

    /// Resource attributes, such as those of the OpenTelemetry SDK's resource (feature `opentelemetry-sdk`):
    /// `with_resource(&resource)`. They replace those of the same key that were set before.
    pub fn with_resource(mut self, resource: impl Into<Resource>) -> Self {
        for (key, value) in resource.into().attributes() {
            self.resource.set(key, value.clone());
        }
        self
    }

    /// How often samples are taken, in Hz of each thread's CPU time: 1 to 1000, by default 99 or `PROFILE_FREQUENCY`.
    pub fn with_frequency(mut self, hertz: u32) -> Self {
        self.frequency = Some(hertz);
        self
    }

    /// How long a window lasts: 100 ms to 60 s, by default 10 s or `PROFILE_WINDOW`.
    pub fn with_window(mut self, window: Duration) -> Self {
        self.window = Some(window);
        self
    }

    /// What decides when threads are sampled: by default [`Engine::CpuTimer`] or `PROFILE_ENGINE`. An engine that is not
    /// permitted is no error: the profiler uses timers, and its [status](crate::profiler::Status) says why.
    pub fn with_engine(mut self, engine: Engine) -> Self {
        self.engine = Some(engine);
        self
    }

    /// Which span a sample's link, `span_name` and pprof labels name: the local root (the default, what Grafana's button
    /// selects) or the innermost span.
    pub fn with_span_scope(mut self, scope: SpanScope) -> Self {
        self.scope = scope;
        self
    }

    /// Only the samples of traces that are sampled carry their span; all others count outside every span. Without it they
    /// carry its name, but no link.
    pub fn with_sampled_only(mut self) -> Self {
        self.sampled_only = true;
        self
    }

    /// Only the samples of slow requests carry their span: those whose local root is open for at least `duration`, 1 ms to
    /// 60 s. All others count outside every span, so that totals stay true, and so do those of spans without ids.
    ///
    /// Samples are held until it is known whether their request is slow. A window that ends before is followed by a second
    /// profile of the same times, with what was decided later. At most 8 MiB are held, and 16384 requests may end within
    /// 50 ms; when that is exceeded, and at the end, what is held counts outside every span, and
    /// [`weight_unlabelled_early`](crate::stats::StatsSnapshot::weight_unlabelled_early) says how much.
    pub fn with_min_span_duration(mut self, duration: Duration) -> Self {
        self.min_span_duration = Some(duration);
        self
    }

    /// Adds an exporter, behind a [`BatchProfileProcessor`] with default settings.
    pub fn with_exporter(mut self, exporter: impl ProfileExporter + 'static) -> Self {
        self.exporters.push(Box::new(exporter));
        self
    }

    /// Keeps every profile on disk, below `directory`, until the exporters have delivered it; see
    /// [`BatchProfileProcessorBuilder::with_spool`](crate::export::BatchProfileProcessorBuilder::with_spool). By default
    /// only if `PROFILE_SPOOL_DIRECTORY` names a directory, with [`DEFAULT_SPOOL_BYTES`](crate::export::DEFAULT_SPOOL_BYTES).
    pub fn with_spool(mut self, directory: impl Into<PathBuf>, max_bytes: u64) -> Self {
        self.spool = Some((directory.into(), max_bytes));
        self
    }

    /// Adds a processor, which gets every profile.
    pub fn with_processor(mut self, processor: impl ProfileProcessor + 'static) -> Self {
        self.processors.push(Box::new(processor));
        self
    }

    /// Prints the report when the profiler is shut down.
    pub fn with_report_on_exit(mut self) -> Self {
        self.report_on_exit = true;
        self
    }

    /// Starts the profiler.
    ///
    /// Exporters of the program run beside those that the environment names; if there are none, one line says so, and
    /// nothing leaves the process. A malformed variable is named in a warning and ignored.
    ///
    /// # Errors
    /// [`Config`](crate::error::ErrorKind::Config) for a frequency, window or duration out of range,
    /// [`AlreadyRunning`](crate::error::ErrorKind::AlreadyRunning) when another profiler runs in this process,
    /// [`Unsupported`](crate::error::ErrorKind::Unsupported) when the system refuses the signal handler or a thread.
    /// Refused timers are no error: the profiler runs, and its status says what does not work.
    pub fn build(self) -> Result<P> {
        let environment = Environment::of_process();
        let frequency = match self.frequency {
            Some(hertz) => config::check_frequency(hertz)?,
            None => environment.frequency.unwrap_or(config::DEFAULT_FREQUENCY),
        };
        let window = match self.window {
            Some(window) => check_window(window)?,
            None => environment.window.unwrap_or(config::DEFAULT_WINDOW),
        };
        let engine = self.engine.or(environment.engine).unwrap_or_default();
        let least = self.min_span_duration.map(check_min_span_duration).transpose()?;
        environment.report();
        let (closings, slow_only) = match least {
            Some(least) => {
                let (closings, roots) = closings();
                (Some(closings), Some((least, Arc::new(roots))))
            }
            None => (None, None),
        };
        let policy = Policy { sampled_only: self.sampled_only, slow_only };
        let stats = Stats::new();
        let resource = Resource::of_process(&self.resource, &environment.resource);
        let mut processors = self.processors;
        if !environment.disabled {
            processors.extend(batching(&environment, self.exporters, self.spool, resource, &stats)?);
        }
        let processors: Arc<[_]> = processors.into();
        let report = Arc::new(Mutex::new(ReportSums::default()));
        let (sums, receivers) = (Arc::clone(&report), Arc::clone(&processors));
        let collector = ProfileCollector::new(
            CollectorConfig { frequency, window, scope: self.scope, engine, policy },
            Arc::clone(&stats),
            Box::new(move |profile| {
                sums.lock().unwrap_or_else(PoisonError::into_inner).add(profile);
                receivers.iter().for_each(|processor| processor.on_profile(Arc::clone(profile)));
            }),
        );
        if !environment.disabled {
            collector.start()?;
        }
        Ok(P::from(Profiler {
            collector,
            processors,
            report,
            stats,
            active: Arc::new(AtomicBool::new(!environment.disabled)),
            closings,
            frequency,
            min_span_duration: least,
            report_on_exit: self.report_on_exit,
            disabled: environment.disabled,
            down: AtomicBool::new(false),
        }))
    }
}

/// The processor of the program's and the environment's exporters, if there are any.
fn batching(
    environment: &Environment,
    given: Vec<Box<dyn ProfileExporter>>,
    spool: Option<(PathBuf, u64)>,
    resource: Resource,
    stats: &Arc<Stats>,
) -> Result<Option<Box<dyn ProfileProcessor>>> {
    let exporters = environment.exporters(given);
    exporters.report();
    if exporters.exporters.is_empty() {
        return Ok(None);
    }
    let mut builder = BatchProfileProcessor::builder().with_exporters(exporters.exporters);
    if let Some((directory, max_bytes)) = spool.or_else(|| environment.usable_spool()) {
        builder = builder.with_spool(directory, max_bytes);
    }
    let processor = builder.with_resource(resource).with_stats(Arc::clone(stats)).build()?;
    Ok(Some(Box::new(processor)))
}

fn check_window(window: Duration) -> Result<Duration> {
    if (Duration::from_millis(100)..=Duration::from_secs(60)).contains(&window) {
        return Ok(window);
    }
    Err(Error::config("window", &format!("{window:?}"), "is not from 100 ms to 60 s"))
}

fn check_min_span_duration(duration: Duration) -> Result<Duration> {
    if (Duration::from_millis(1)..=Duration::from_secs(60)).contains(&duration) {
        return Ok(duration);
    }
    Err(Error::config("min_span_duration", &format!("{duration:?}"), "is not from 1 ms to 60 s"))
}

impl<P: From<Profiler>> Default for ProfilerBuilder<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P> fmt::Debug for ProfilerBuilder<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProfilerBuilder")
            .field("frequency", &self.frequency)
            .field("window", &self.window)
            .field("scope", &self.scope)
            .field("resource", &self.resource)
            .finish_non_exhaustive()
    }
}
