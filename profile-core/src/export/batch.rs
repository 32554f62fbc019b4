//! The processor between the collector and the exporters: a queue and a thread for each exporter.

use super::queue::{Limits, Queue, Ticket, Waited};
use super::retry::RetryPolicy;
use super::spool::Spool;
use super::worker::{Worker, profiles};
use super::{Interrupter, ProfileExporter, ProfileProcessor, deadline_after};
use crate::diag;
use crate::error::{Error, ErrorKind, Result};
use crate::profile::Profile;
use crate::resource::Resource;
use crate::stats::Stats;
use crate::sys::{process, task};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Profiles in one request. A window makes one profile of each type, so that a batch is a window or a few.
pub const DEFAULT_BATCH_SIZE: usize = 8;

/// How long the first profile of a batch waits for others: long enough for the other profiles of its window.
pub const DEFAULT_BATCH_TIMEOUT: Duration = Duration::from_secs(1);

/// Profiles waiting for one exporter: more than ten minutes of windows of ten seconds.
pub const DEFAULT_MAX_QUEUE_SIZE: usize = 64;

/// Bytes of the profiles waiting for one exporter, estimated.
const DEFAULT_MAX_QUEUE_BYTES: usize = 64 << 20;

/// How long dropping a processor may take.
pub const DEFAULT_SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// Batches profiles and hands them to every exporter, each on a thread of its own.
///
/// Memory is bounded: for each exporter the queue, and one batch under way. Dropping it shuts it down within
/// [`DEFAULT_SHUTDOWN_TIMEOUT`].
///
/// The threads stay with the process that built it. In a forked child it takes nothing and has nothing to deliver: that
/// is the parent's to do.
pub struct BatchProfileProcessor {
    lanes: Vec<Lane>,
    /// The [fork count](process::forks) of the process that has the threads.
    forks: u32,
}

/// Builds a [`BatchProfileProcessor`].
pub struct BatchProfileProcessorBuilder {
    exporters: Vec<Box<dyn ProfileExporter>>,
    resource: Arc<Resource>,
    stats: Arc<Stats>,
    retry: RetryPolicy,
    limits: Limits,
    /// Its directory, and how many bytes each exporter's files may take.
    spool: Option<(PathBuf, u64)>,
}

/// One exporter's way out.
struct Lane {
    name: String,
    queue: Arc<Queue>,
    spool: Option<Arc<Spool>>,
    resource: Arc<Resource>,
    thread: Mutex<Option<JoinHandle<()>>>,
    interrupter: Mutex<Option<Interrupter>>,
}

impl BatchProfileProcessor {
    /// A processor without exporters, to be given some.
    #[must_use]
    pub fn builder() -> BatchProfileProcessorBuilder {
        BatchProfileProcessorBuilder {
            exporters: Vec::new(),
            resource: Arc::default(),
            stats: Stats::new(),
            retry: RetryPolicy::default(),
            limits: Limits {
                batch_size: DEFAULT_BATCH_SIZE,
                batch_timeout: DEFAULT_BATCH_TIMEOUT,
                max_profiles: DEFAULT_MAX_QUEUE_SIZE,
                max_bytes: DEFAULT_MAX_QUEUE_BYTES,
            },
            spool: None,
        }
    }

    /// Whether this is the process that has the threads. If not, no lock may be touched: its holder may not exist here.
    fn is_here(&self) -> bool {
        self.forks == process::forks()
    }

    /// Waits for all lanes; every lane has had its order before the first wait.
    fn wait_all(&self, tickets: &[Ticket], wait: impl Fn(&Lane, Ticket) -> Waited) -> Result<()> {
        let mut late = Vec::new();
        let mut lost = Vec::new();
        for (lane, ticket) in self.lanes.iter().zip(tickets) {
            match wait(lane, *ticket) {
                Waited::Delivered => {}
                Waited::Late => late.push(lane.name.clone()),
                Waited::Lost(count, why) => {
                    let why = why.unwrap_or_else(|| "queue full".to_owned());
                    lost.push(format!("{}: {} dropped: {why}", lane.name, profiles(count)));
                }
            }
        }
        if !late.is_empty() {
            let message = format!("{} did not finish before the deadline", late.join(", "));
            return Err(Error::new(ErrorKind::Deadline, message));
        }
        if !lost.is_empty() {
            return Err(Error::new(ErrorKind::Export, lost.join("; ")));
        }
        Ok(())
    }
}

impl ProfileProcessor for BatchProfileProcessor {
    fn on_profile(&self, profile: Arc<Profile>) {
        // No backend takes a profile without samples: a process that was idle has nothing to tell.
        if profile.total_weight() == 0 || !self.is_here() {
            return;
        }
        for lane in &self.lanes {
            lane.take(&profile);
        }
    }

    fn force_flush(&self, timeout: Duration) -> Result<()> {
        let deadline = deadline_after(timeout);
        if !self.is_here() || self.lanes.iter().any(|lane| lane.queue.is_stopping()) {
            return Err(Error::new(ErrorKind::Stopped, "the processor has been shut down"));
        }
        let tickets: Vec<_> = self.lanes.iter().map(|lane| lane.queue.begin_flush()).collect();
        self.wait_all(&tickets, |lane, ticket| lane.queue.wait_flushed(ticket, deadline))
    }

    fn shutdown(&self, timeout: Duration) -> Result<()> {
        if !self.is_here() {
            return Ok(());
        }
        let deadline = deadline_after(timeout);
        let tickets: Vec<_> = self.lanes.iter().map(|lane| lane.queue.begin_stop(deadline)).collect();
        self.wait_all(&tickets, |lane, ticket| lane.stop(ticket, deadline))
    }
}

impl Lane {
    /// Takes a profile: to disk first, if that is asked for.
    fn take(&self, profile: &Arc<Profile>) {
        let spool = self.spool.as_ref().filter(|_| !self.queue.is_stopping());
        let entry = spool.and_then(|spool| spool.write(profile, &self.resource));
        self.queue.push(Arc::clone(profile), entry);
    }

    fn stop(&self, ticket: Ticket, deadline: Instant) -> Waited {
        let waited = self.queue.wait_stopped(ticket, deadline);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let interrupter = self.interrupter.lock().unwrap_or_else(PoisonError::into_inner).take();
        if self.queue.is_finished() {
            // The thread has nothing left to do but to end, so that this wait is short. It cannot have panicked:
            // if it had, there would be nothing to do about it here.
            drop(thread.map(JoinHandle::join));
        } else if let Some(interrupter) = interrupter {
            interrupter.interrupt();
        }
        waited
    }
}

impl Drop for BatchProfileProcessor {
    fn drop(&mut self) {
        if !self.is_here() {
            // To drop a thread's handle is to detach the thread: here, perhaps another one that has got its address.
            return std::mem::forget(std::mem::take(&mut self.lanes));
        }
        if let Err(error) = self.shutdown(DEFAULT_SHUTDOWN_TIMEOUT) {
            diag::warn("drop", format_args!("{error}"));
        }
    }
}

impl fmt::Debug for BatchProfileProcessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.lanes.iter().map(|lane| &lane.name)).finish()
    }
}

impl BatchProfileProcessorBuilder {
    /// Adds an exporter; each one gets every profile.
    #[must_use]
    pub fn with_exporter(mut self, exporter: impl ProfileExporter + 'static) -> Self {
        self.exporters.push(Box::new(exporter));
        self
    }

    /// Adds exporters.
    #[must_use]
    pub fn with_exporters(mut self, exporters: Vec<Box<dyn ProfileExporter>>) -> Self {
        self.exporters.extend(exporters);
        self
    }

    /// What the profiles are of; empty by default.
    #[must_use]
    pub fn with_resource(mut self, resource: impl Into<Arc<Resource>>) -> Self {
        self.resource = resource.into();
        self
    }

    /// Where to count; counters of its own by default.
    #[must_use]
    pub fn with_stats(mut self, stats: Arc<Stats>) -> Self {
        self.stats = stats;
        self
    }

    /// How many profiles make a batch; from 1, and [`DEFAULT_BATCH_SIZE`] by default.
    #[must_use]
    pub const fn with_batch_size(mut self, profiles: usize) -> Self {
        self.limits.batch_size = profiles;
        self
    }

    /// How long a batch waits to fill; [`DEFAULT_BATCH_TIMEOUT`] by default.
    #[must_use]
    pub const fn with_batch_timeout(mut self, timeout: Duration) -> Self {
        self.limits.batch_timeout = timeout;
        self
    }

    /// How many profiles wait for each exporter, besides the batch under way, before the oldest are dropped; from 1,
    /// and [`DEFAULT_MAX_QUEUE_SIZE`] by default. A batch is never larger than the queue.
    #[must_use]
    pub const fn with_max_queue_size(mut self, profiles: usize) -> Self {
        self.limits.max_profiles = profiles;
        self
    }

    /// How many bytes of profiles wait for each exporter, by estimate, before the oldest are dropped; 64 MiB by
    /// default. Exporters share the profiles, so that what several queues hold is counted in each.
    #[must_use]
    pub const fn with_max_queue_bytes(mut self, bytes: usize) -> Self {
        self.limits.max_bytes = bytes;
        self
    }

    /// Keeps every profile on disk, below `directory`, until it is delivered: also when the process is killed, when a
    /// destination is away for longer than the retries go on, and when the queue is full. What is left is delivered by the
    /// next process that names the same directory and exporter. `max_bytes` bounds the files of each exporter;
    /// [`DEFAULT_SPOOL_BYTES`](super::DEFAULT_SPOOL_BYTES) is a start. Nowhere by default.
    ///
    /// A profile is written and synced before it is queued, on the thread that hands it over; a delivery whose answer is
    /// lost happens twice.
    #[must_use]
    pub fn with_spool(mut self, directory: impl Into<PathBuf>, max_bytes: u64) -> Self {
        self.spool = Some((directory.into(), max_bytes));
        self
    }

    /// When to try again.
    #[must_use]
    pub fn with_retry_policy(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// Starts a thread for each exporter.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) if a size is 0, and [`Io`](ErrorKind::Io) if a thread cannot be started or the
    /// spool's directory cannot be used.
    pub fn build(mut self) -> Result<BatchProfileProcessor> {
        let limits = self.limits;
        for (name, size) in [
            ("batch_size", limits.batch_size),
            ("max_queue_size", limits.max_profiles),
            ("max_queue_bytes", limits.max_bytes),
        ] {
            if size == 0 {
                return Err(Error::config(name, "0", "must be at least 1"));
            }
        }
        if self.spool.as_ref().is_some_and(|(_, bytes)| *bytes == 0) {
            return Err(Error::config("spool max_bytes", "0", "must be at least 1"));
        }
        self.limits.batch_size = limits.batch_size.min(limits.max_profiles);
        process::watch_forks();
        // Dropped on an early return, it shuts down the threads that have been started.
        let mut processor = BatchProfileProcessor { lanes: Vec::new(), forks: process::forks() };
        for exporter in std::mem::take(&mut self.exporters) {
            processor.lanes.push(self.start(exporter)?);
        }
        Ok(processor)
    }

    fn start(&self, exporter: Box<dyn ProfileExporter>) -> Result<Lane> {
        let name = exporter.name().to_owned();
        let interrupter = exporter.interrupter();
        let limits = exporter.limits();
        let stats = self.stats.add_exporter(&name);
        let open = |(directory, max_bytes): &(PathBuf, u64)| {
            Spool::open(directory, &name, *max_bytes, Arc::clone(&stats))
                .map(Arc::new)
                .map_err(|cause| Error::io(format!("no spool in directory {directory:?}"), cause))
        };
        let spool = self.spool.as_ref().map(open).transpose()?;
        let queue = Arc::new(Queue::new(self.limits, spool.clone(), Arc::clone(&stats)));
        let worker = Worker {
            exporter,
            name: name.clone(),
            queue: Arc::clone(&queue),
            spool: spool.clone(),
            stats,
            resource: Arc::clone(&self.resource),
            retry: self.retry.clone(),
            limits,
            queue_full_seen: 0,
        };
        let thread = task::spawn("profile-export", move || worker.run())
            .map_err(|cause| Error::io(format!("no thread for exporter {name}"), cause))?;
        let resource = Arc::clone(&self.resource);
        Ok(Lane {
            name,
            queue,
            spool,
            resource,
            thread: Mutex::new(Some(thread)),
            interrupter: Mutex::new(interrupter),
        })
    }
}

impl fmt::Debug for BatchProfileProcessorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.exporters.iter().map(|exporter| exporter.name()).collect();
        f.debug_struct("BatchProfileProcessorBuilder")
            .field("exporters", &names)
            .field("limits", &self.limits)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}
