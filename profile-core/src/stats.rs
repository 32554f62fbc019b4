//! The profiler's account of itself: what it took, what it lost, and what became of every profile it made.
//!
//! All counters but one only grow, and all are relaxed atomics: reading them never slows the writers down, and a snapshot taken
//! while the profiler runs may be off by what is under way. For each exporter
//!
//! ```text
//! given = exported + dropped (by reason) + waiting
//! ```
//!
//! holds at every moment at which nothing is under way, so no profile can vanish without a reason.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The counters of one profiler. Shared by all its threads; [`snapshot`](Self::snapshot) reads them.
#[derive(Debug, Default)]
pub struct Stats {
    /// Samples taken.
    pub(crate) samples: Counter,
    /// Periods that the samples stand for.
    pub(crate) weight: Counter,
    /// Periods lost because a thread's ring was full.
    pub(crate) lost_ring_full: Counter,
    /// Periods that count outside every span because of a policy.
    pub(crate) weight_unlabelled: Counter,
    /// Of these, periods for which the policy could not wait.
    pub(crate) weight_given_up: Counter,
    /// Samples whose stack is deeper than the sampler records.
    pub(crate) truncated_stacks: Counter,
    /// Samples whose stack could not be followed to its end.
    pub(crate) broken_stacks: Counter,
    /// Samples taken before the unwind tables were ready: the leaf only.
    pub(crate) unready_stacks: Counter,
    /// Words of rings that were no records. Never seen; a sign of overwritten memory.
    pub(crate) corrupt_words: Counter,
    /// Windows closed.
    pub(crate) windows: Counter,
    /// Windows lost because symbolising fell behind.
    pub(crate) windows_lost: Counter,
    exporters: Mutex<Vec<Arc<ExporterStats>>>,
}

/// The counters of one exporter.
pub(crate) struct ExporterStats {
    name: String,
    pub(crate) given: Counter,
    pub(crate) exported: Counter,
    pub(crate) batches: Counter,
    pub(crate) bytes_sent: Counter,
    pub(crate) retries: Counter,
    pub(crate) spool_written: Counter,
    pub(crate) spool_replayed: Counter,
    pub(crate) spool_refused: Counter,
    pub(crate) spool_corrupt: Counter,
    pub(crate) spool_bytes: Gauge,
    dropped: [Counter; DropReason::COUNT],
}

/// Why an exporter did not deliver a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum DropReason {
    QueueFull,
    Rejected,
    Expired,
    Shutdown,
    Panicked,
}

/// The counters of a profiler at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatsSnapshot {
    /// Samples taken.
    pub samples_taken: u64,
    /// Periods that the samples stand for.
    pub weight_taken: u64,
    /// Periods lost because a thread's ring was full.
    pub weight_lost_ring_full: u64,
    /// Periods in spans that count outside every span, because the profiler was told to label only sampled traces or slow
    /// requests.
    pub weight_unlabelled: u64,
    /// Of these, periods of requests of which it was not known whether they are slow: too much was held, or too many spans
    /// closed at once, or the profiler was stopped.
    pub weight_unlabelled_early: u64,
    /// Samples whose stack is deeper than the sampler records.
    pub truncated_stacks: u64,
    /// Samples whose stack could not be followed to its end.
    pub broken_stacks: u64,
    /// Samples taken before the unwind tables were ready: the leaf only.
    pub unready_stacks: u64,
    /// Words of rings that were no records. Never seen; a sign of overwritten memory.
    pub corrupt_words: u64,
    /// Windows closed.
    pub windows: u64,
    /// Windows lost because symbolising fell behind.
    pub windows_lost: u64,
    /// One entry for each exporter, in the order in which they were added.
    pub exporters: Vec<ExporterSnapshot>,
}

/// The counters of one exporter at one moment. All but `batches`, `bytes_sent` and `retries` count profiles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExporterSnapshot {
    /// What the exporter calls itself.
    pub name: String,
    /// Profiles handed to the exporter's queue; one too large for the destination counts as the parts that it is sent in.
    pub given: u64,
    /// Profiles that the destination took.
    pub exported: u64,
    /// Profiles that were not delivered, by reason.
    pub dropped: DropSnapshot,
    /// Requests that the destination took, or files written.
    pub batches: u64,
    /// Bytes of the bodies of these, as sent (compressed, if compression is on).
    pub bytes_sent: u64,
    /// Attempts after the first one.
    pub retries: u64,
    /// What became of its files on disk, if it has a spool.
    pub spool: SpoolSnapshot,
}

/// The files of one exporter's spool, each of which is a profile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpoolSnapshot {
    /// Profiles written to disk before they were queued.
    pub written: u64,
    /// Profiles that were delivered from disk: left by an earlier process, or dropped from memory by this one. They count
    /// as `given` once more.
    pub replayed: u64,
    /// Profiles that are not on disk, or no longer: the disk or the spool was full.
    pub refused: u64,
    /// Files that were not whole and were removed.
    pub corrupt: u64,
    /// What its files take now, in bytes: the only one that also falls.
    pub bytes: u64,
}

/// Profiles that an exporter did not deliver, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DropSnapshot {
    /// The queue was full: the oldest profiles made room for newer ones.
    pub queue_full: u64,
    /// The destination refused them for good.
    pub rejected: u64,
    /// The destination could not take them before the retries ran out.
    pub expired: u64,
    /// The processor was shut down before they were delivered.
    pub shutdown: u64,
    /// The exporter panicked.
    pub panicked: u64,
}

/// A count that only grows.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

/// A figure as it is now.
#[derive(Default)]
pub(crate) struct Gauge(AtomicU64);

impl Stats {
    /// Counters that all stand at zero.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// What the counters say now.
    #[must_use]
    pub fn snapshot(&self) -> StatsSnapshot {
        let exporters = self.exporters.lock().unwrap_or_else(PoisonError::into_inner);
        StatsSnapshot {
            samples_taken: self.samples.get(),
            weight_taken: self.weight.get(),
            weight_lost_ring_full: self.lost_ring_full.get(),
            weight_unlabelled: self.weight_unlabelled.get(),
            weight_unlabelled_early: self.weight_given_up.get(),
            truncated_stacks: self.truncated_stacks.get(),
            broken_stacks: self.broken_stacks.get(),
            unready_stacks: self.unready_stacks.get(),
            corrupt_words: self.corrupt_words.get(),
            windows: self.windows.get(),
            windows_lost: self.windows_lost.get(),
            exporters: exporters.iter().map(|exporter| exporter.snapshot()).collect(),
        }
    }

    /// Counters for one more exporter.
    pub(crate) fn add_exporter(&self, name: &str) -> Arc<ExporterStats> {
        let exporter = Arc::new(ExporterStats::new(name));
        self.exporters.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&exporter));
        exporter
    }
}

impl ExporterStats {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            given: Counter::default(),
            exported: Counter::default(),
            batches: Counter::default(),
            bytes_sent: Counter::default(),
            retries: Counter::default(),
            spool_written: Counter::default(),
            spool_replayed: Counter::default(),
            spool_refused: Counter::default(),
            spool_corrupt: Counter::default(),
            spool_bytes: Gauge::default(),
            dropped: std::array::from_fn(|_| Counter::default()),
        }
    }

    pub(crate) fn drop_profiles(&self, reason: DropReason, count: u64) {
        self.dropped[reason as usize].add(count);
    }

    pub(crate) fn dropped(&self) -> DropSnapshot {
        let count = |reason: DropReason| self.dropped[reason as usize].get();
        DropSnapshot {
            queue_full: count(DropReason::QueueFull),
            rejected: count(DropReason::Rejected),
            expired: count(DropReason::Expired),
            shutdown: count(DropReason::Shutdown),
            panicked: count(DropReason::Panicked),
        }
    }

    fn snapshot(&self) -> ExporterSnapshot {
        // `given` is read last: it is added to first, so that `waiting` is never too small.
        let dropped = self.dropped();
        let exported = self.exported.get();
        ExporterSnapshot {
            name: self.name.clone(),
            given: self.given.get(),
            exported,
            dropped,
            batches: self.batches.get(),
            bytes_sent: self.bytes_sent.get(),
            retries: self.retries.get(),
            spool: SpoolSnapshot {
                written: self.spool_written.get(),
                replayed: self.spool_replayed.get(),
                refused: self.spool_refused.get(),
                corrupt: self.spool_corrupt.get(),
                bytes: self.spool_bytes.get(),
            },
        }
    }
}

impl ExporterSnapshot {
    /// Profiles that are queued or under way.
    #[must_use]
    pub const fn waiting(&self) -> u64 {
        self.given.saturating_sub(self.exported.saturating_add(self.dropped.total()))
    }
}

impl DropReason {
    const COUNT: usize = Self::Panicked as usize + 1;
}

impl DropSnapshot {
    /// Each reason by name, with its count.
    pub fn by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let Self { queue_full, rejected, expired, shutdown, panicked } = *self;
        [
            ("queue_full", queue_full),
            ("rejected", rejected),
            ("expired", expired),
            ("shutdown", shutdown),
            ("panicked", panicked),
        ]
        .into_iter()
    }

    /// All of them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        let of_destination = self.rejected.saturating_add(self.expired);
        let of_ours = self.queue_full.saturating_add(self.shutdown).saturating_add(self.panicked);
        of_destination.saturating_add(of_ours)
    }
}

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Raises it to `least`, if it is less.
    pub(crate) fn raise(&self, least: u64) {
        self.0.fetch_max(least, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Gauge {
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl fmt::Debug for ExporterStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.snapshot().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_given_is_exported_dropped_or_waiting() {
        let stats = Stats::new();
        let exporter = stats.add_exporter("one");
        exporter.given.add(10);
        exporter.exported.add(3);
        for reason in [
            DropReason::QueueFull,
            DropReason::Rejected,
            DropReason::Expired,
            DropReason::Shutdown,
            DropReason::Panicked,
        ] {
            exporter.drop_profiles(reason, 1);
        }
        let snapshot = stats.snapshot().exporters.remove(0);
        assert_eq!((snapshot.name.as_str(), snapshot.dropped.total(), snapshot.waiting()), ("one", 5, 2));
        assert_eq!(snapshot.dropped.expired, 1, "each reason has a counter of its own");
    }
}
