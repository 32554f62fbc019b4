//! The thread of one exporter: takes batches, delivers each with retries, and settles what became of it.

use super::error::{ExportError, ExportErrorKind, ExportReceipt};
use super::queue::{BatchClock, Queue, Queued, Settled};
use super::retry::{Outcome, RetryPolicy, retry};
use super::spool::{Entry, Spool};
use super::{BatchLimits, ProfileExporter, deadline_after};
use crate::diag;
use crate::profile::ProfileBatch;
use crate::resource::Resource;
use crate::stats::{DropReason, ExporterStats};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

pub(super) struct Worker {
    pub(super) exporter: Box<dyn ProfileExporter>,
    pub(super) name: String,
    pub(super) queue: Arc<Queue>,
    pub(super) spool: Option<Arc<Spool>>,
    pub(super) stats: Arc<ExporterStats>,
    pub(super) resource: Arc<Resource>,
    pub(super) retry: RetryPolicy,
    pub(super) limits: BatchLimits,
    /// The profiles dropped from a full queue that have been told of.
    pub(super) queue_full_seen: u64,
}

/// How often a batch that is refused as too large is halved: a destination that refuses a sixty-fourth will not take any.
const MAX_HALVINGS: u32 = 6;

impl Worker {
    /// Runs until the queue is shut down.
    pub(super) fn run(self) {
        let queue = Arc::clone(&self.queue);
        // Declared before the worker and so dropped after it: a caller that joins this thread because the queue says
        // that it has ended must not wait for the exporter's own drop.
        let _finish = Finish(&queue);
        let mut worker = self;
        worker.replay();
        while let Some(profiles) = queue.take_batch() {
            worker.warn_of_full_queue();
            if worker.deliver(profiles) {
                worker.replay();
            }
        }
        if catch_unwind(AssertUnwindSafe(|| worker.exporter.shutdown())).is_err() {
            worker.warn("shutdown", format_args!("panicked while shutting down"));
        }
    }

    /// Delivers the profiles, in parts if they are too large for the destination. Whether it took them all.
    fn deliver(&mut self, queued: Vec<Queued>) -> bool {
        let (profiles, entries): (Vec<_>, Vec<_>) =
            queued.into_iter().map(|queued| (queued.profile, queued.entry)).unzip();
        let (mut is_for_later, mut is_taken) = (false, true);
        let batch = ProfileBatch::new(Arc::clone(&self.resource), profiles);
        let BatchLimits { max_profiles, max_samples, max_bytes } = self.limits;
        let whole = batch.chunks(max_profiles).into_iter();
        let whole: Vec<_> = whole.flat_map(|chunk| chunk.split(max_samples, max_bytes)).collect();
        self.count_parts(&batch, &whole);
        let whole = whole.into_iter().filter(|part| !part.is_empty());
        let mut parts: Vec<_> = whole.rev().map(|part| (part, 0)).collect();
        while let Some((part, halvings)) = parts.pop() {
            let outcome = self.attempts(&part);
            if let Outcome::Failed(error) = &outcome
                && error.kind() == ExportErrorKind::TooLarge
                && halvings < MAX_HALVINGS
                && let Some(halves) = part.halve()
            {
                self.count_parts(&part, &halves);
                parts.extend(halves.into_iter().rev().map(|half| (half, halvings + 1)));
                continue;
            }
            let count = part.profiles().len();
            is_taken &= matches!(outcome, Outcome::Delivered(Some(_)));
            // A shutdown interrupts an attempt, which then fails in any way.
            is_for_later |= match &outcome {
                Outcome::Expired(_) => true,
                Outcome::Failed(_) => self.queue.is_stopping(),
                Outcome::Delivered(_) => false,
            };
            let settled = self.settled(count, outcome);
            self.queue.settle(count, settled);
        }
        self.queue.end_batch();
        entries.into_iter().flatten().for_each(|entry| self.leave(entry, is_for_later));
        is_taken
    }

    /// A profile has been tried: its file goes, unless it may be delivered later.
    fn leave(&self, entry: Entry, is_for_later: bool) {
        match &self.spool {
            Some(spool) if is_for_later => spool.keep(entry),
            Some(spool) => spool.remove(&entry),
            None => {}
        }
    }

    /// Tries what is on disk and in no queue: left by an earlier process, or by this one. Oldest first, one attempt each,
    /// until one fails that may succeed later; then there is no use in trying the others.
    fn replay(&mut self) {
        let Some(spool) = self.spool.clone() else { return };
        while !self.queue.is_stopping()
            && let Some((entry, batch)) = spool.take_left()
        {
            let BatchLimits { max_samples, max_bytes, .. } = self.limits;
            for part in batch.split(max_samples, max_bytes) {
                let attempt = self.attempt(&part, deadline_after(self.retry.max_elapsed()));
                let outcome = match attempt {
                    Ok(delivered) => Outcome::Delivered(delivered),
                    Err(error) if matches!(error.kind(), ExportErrorKind::Retryable { .. }) => {
                        return spool.put_back(entry);
                    }
                    Err(error) => Outcome::Failed(error),
                };
                self.stats.given.add(1);
                let settled = self.settled(1, outcome);
                self.queue.settle_replayed(settled);
            }
            spool.remove(&entry);
            self.stats.spool_replayed.add(1);
        }
    }

    /// A profile that comes in parts counts as so many profiles from here on.
    fn count_parts(&self, batch: &ProfileBatch, parts: &[ProfileBatch]) {
        let profiles: usize = parts.iter().map(|part| part.profiles().len()).sum();
        self.queue.add_parts(profiles.saturating_sub(batch.profiles().len()));
    }

    /// All attempts at one batch. A delivery without a receipt is one that panicked.
    fn attempts(&mut self, batch: &ProfileBatch) -> Outcome<Option<ExportReceipt>> {
        let queue = Arc::clone(&self.queue);
        let policy = self.retry.clone();
        let clock = BatchClock::new(&queue, deadline_after(policy.max_elapsed()));
        let mut first = true;
        retry(&policy, &clock, |deadline| {
            if !std::mem::take(&mut first) {
                self.stats.retries.add(1);
            }
            self.attempt(batch, deadline)
        })
    }

    fn attempt(
        &mut self,
        batch: &ProfileBatch,
        deadline: Instant,
    ) -> Result<Option<ExportReceipt>, ExportError> {
        let Ok(result) = catch_unwind(AssertUnwindSafe(|| self.exporter.export(batch, deadline))) else {
            return Ok(None);
        };
        if let Err(error) = &result
            && matches!(error.kind(), ExportErrorKind::Retryable { .. })
        {
            self.warn("attempt", format_args!("not delivered yet: {error}"));
        }
        result.map(Some)
    }

    /// What the attempts came to, told to the developer as well.
    fn settled(&self, count: usize, outcome: Outcome<Option<ExportReceipt>>) -> Settled {
        let (reason, error) = match outcome {
            Outcome::Delivered(Some(receipt)) => return self.delivered(count, &receipt),
            Outcome::Delivered(None) => (DropReason::Panicked, "the exporter panicked".to_owned()),
            Outcome::Failed(error) => (DropReason::Rejected, error.to_string()),
            Outcome::Expired(error) if self.queue.is_stopping() => (DropReason::Shutdown, error.to_string()),
            Outcome::Expired(error) => (DropReason::Expired, error.to_string()),
        };
        self.warn("dropped", format_args!("{} dropped: {error}", profiles(count as u64)));
        Settled::Dropped { reason, error }
    }

    fn delivered(&self, count: usize, receipt: &ExportReceipt) -> Settled {
        let rejected = usize::try_from(receipt.rejected_profiles()).unwrap_or(usize::MAX).min(count);
        let message = receipt.message().map(str::to_owned);
        if rejected > 0 {
            let why = message.as_deref().unwrap_or("no reason given");
            self.warn("rejected", format_args!("{} refused: {why}", profiles(rejected as u64)));
        } else if let Some(message) = &message {
            self.warn("message", format_args!("delivered, but with a remark: {message}"));
        }
        Settled::Delivered { rejected, bytes: receipt.bytes_sent(), message }
    }

    /// Said here and not where it happens: the collector's thread must not wait for the developer's terminal.
    fn warn_of_full_queue(&mut self) {
        let dropped = self.stats.dropped().queue_full;
        let new = dropped.saturating_sub(std::mem::replace(&mut self.queue_full_seen, dropped));
        if new > 0 {
            self.warn("full", format_args!("{} dropped: the queue was full", profiles(new)));
        }
    }

    fn warn(&self, what: &str, message: std::fmt::Arguments<'_>) {
        diag::warn(&format!("{what} {}", self.name), format_args!("{}: {message}", self.name));
    }
}

/// "1 profile", "2 profiles".
pub(super) fn profiles(count: u64) -> String {
    format!("{count} profile{}", if count == 1 { "" } else { "s" })
}

/// Says that the worker has ended, whichever way it did.
struct Finish<'a>(&'a Queue);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.0.finish();
    }
}
