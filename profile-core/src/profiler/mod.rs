//! The profiler: the one module that knows every stage, and puts them together.

mod builder;
mod collector;
mod explain;
mod reason;
mod report;
mod status;

pub use crate::sampler::Engine;
pub use builder::ProfilerBuilder;
pub use collector::ProfileCollector;
pub use reason::{Explanation, Reason};
pub use report::{MAX_UNPROFILED, Report, SpanReport};
pub use status::Status;

use crate::closing::Closings;
use crate::diag;
use crate::error::{Error, ErrorKind, Result};
use crate::export::{ProfileProcessor, deadline_after};
use crate::profile::Profile;
use crate::spans::SpanTracker;
use crate::stats::{Stats, StatsSnapshot};
use report::ReportSums;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long [`Profiler::shutdown`] and dropping a profiler may take.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// A running profiler. Dropping it shuts it down.
///
/// It stays with the process that built it. In a forked child it is at rest: shutting it down or dropping it returns at
/// once and delivers nothing, since what it holds is the parent's to deliver. A child that is to be profiled builds a
/// profiler of its own; the `tracing` layer that it inherited goes on to follow spans for that one.
#[must_use = "a profiler that is dropped stops profiling"]
pub struct Profiler {
    collector: ProfileCollector,
    processors: Arc<[Box<dyn ProfileProcessor>]>,
    report: Arc<Mutex<ReportSums>>,
    stats: Arc<Stats>,
    /// Whether span trackers should follow new spans.
    active: Arc<AtomicBool>,
    /// Where they tell of local roots that close, if somebody wants to know.
    closings: Option<Closings>,
    frequency: u32,
    min_span_duration: Option<Duration>,
    report_on_exit: bool,
    disabled: bool,
    down: AtomicBool,
}

impl Profiler {
    /// Follows the spans of one subscriber for this profiler.
    #[must_use]
    pub fn span_tracker(&self) -> SpanTracker {
        SpanTracker::new(Arc::clone(&self.active)).telling(self.closings.clone())
    }

    /// The collector: start, stop, and profiles on demand.
    #[must_use]
    pub const fn collector(&self) -> &ProfileCollector {
        &self.collector
    }

    /// Closes the current window now and returns its profile; see [`ProfileCollector::collect`].
    ///
    /// # Errors
    /// As [`ProfileCollector::collect`].
    pub fn collect(&self, timeout: Duration) -> Result<Option<Arc<Profile>>> {
        self.collector.collect(timeout)
    }

    /// Closes the current window and delivers everything collected so far, in `timeout` at most.
    ///
    /// # Errors
    /// [`Deadline`](ErrorKind::Deadline) if it did not finish in time, [`Export`](ErrorKind::Export) if a destination
    /// did not take something, [`Stopped`](ErrorKind::Stopped) after a shutdown and in a forked child.
    pub fn force_flush(&self, timeout: Duration) -> Result<()> {
        let deadline = deadline_after(timeout);
        if self.disabled {
            return Ok(());
        }
        if !self.collector.is_here() {
            let what = "the profiler belongs to the process that this one was forked from";
            return Err(Error::new(ErrorKind::Stopped, what));
        }
        let collected = self.collector.collect(timeout);
        let flushed = self.each(deadline, |processor, left| processor.force_flush(left));
        collected.and(flushed)
    }

    /// Stops profiling and delivers what is left, in [`SHUTDOWN_TIMEOUT`] at most. Again is a no-op.
    ///
    /// # Errors
    /// As [`force_flush`](Self::force_flush); what was not delivered in time is dropped and counted.
    pub fn shutdown(&self) -> Result<()> {
        self.shutdown_with_timeout(SHUTDOWN_TIMEOUT)
    }

    /// Stops profiling and delivers what is left, in `timeout` at most. Again is a no-op.
    ///
    /// # Errors
    /// As [`shutdown`](Self::shutdown).
    pub fn shutdown_with_timeout(&self, timeout: Duration) -> Result<()> {
        if !self.collector.is_here() || self.down.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let deadline = deadline_after(timeout);
        self.active.store(false, Ordering::Relaxed);
        let stopped = self.collector.stop_until(deadline);
        let delivered = self.each(deadline, |processor, left| processor.shutdown(left));
        if self.report_on_exit && !self.disabled {
            diag::info("report", format_args!("\n{}", self.report()));
        }
        stopped.and(delivered)
    }

    /// Where the CPU time went since the start, by span name. Covers closed windows: call
    /// [`force_flush`](Self::force_flush) or [`collect`](Self::collect) before it to include the current one.
    #[must_use]
    pub fn report(&self) -> Report {
        let Some(mut report) = self.report_sums(ReportSums::report) else { return Report::default() };
        let names = report.without_samples_names();
        report.set_unprofiled(names.iter().map(|name| self.explain(name)).collect());
        report
    }

    /// Reads the sums of the report; `None` in a forked child, where the lock's holder may not exist.
    fn report_sums<T>(&self, read: impl FnOnce(&ReportSums) -> T) -> Option<T> {
        self.collector.is_here().then(|| read(&self.report.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// What the profiler took, lost and delivered so far.
    #[must_use]
    pub fn stats(&self) -> StatsSnapshot {
        if !self.collector.is_here() {
            return StatsSnapshot::default(); // the lock's holder may not exist here
        }
        self.stats.snapshot()
    }

    /// The counters themselves, for whoever reads them again and again.
    #[must_use]
    pub fn counters(&self) -> Arc<Stats> {
        Arc::clone(&self.stats)
    }

    /// What works and what does not.
    #[must_use]
    pub fn status(&self) -> Status {
        Status::read(self.collector.engine(), self.disabled, self.frequency)
    }

    /// Asks every processor and returns the first failure; one that fails does not keep the others from being asked.
    fn each(
        &self,
        deadline: Instant,
        ask: impl Fn(&dyn ProfileProcessor, Duration) -> Result<()>,
    ) -> Result<()> {
        let left = || deadline.saturating_duration_since(Instant::now());
        self.processors.iter().map(|processor| ask(&**processor, left())).fold(Ok(()), Result::and)
    }
}

impl Drop for Profiler {
    fn drop(&mut self) {
        match self.shutdown() {
            Err(error) if error.kind() != ErrorKind::Stopped => diag::warn("drop", format_args!("{error}")),
            _ => {}
        }
    }
}

impl fmt::Debug for Profiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profiler").field("status", &self.status()).field("stats", &self.stats()).finish()
    }
}
