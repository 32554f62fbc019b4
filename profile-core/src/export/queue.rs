//! The bounded queue in front of one exporter, and all that its worker and the callers of the processor agree on.
//!
//! Profiles are numbered in the order they come. A flush asks for all below a number, and is over when the oldest
//! profile still pending, queued or under way, has that number or a higher one. A full queue drops its *oldest*
//! profile: after an outage, recent profiles are worth more than old ones, which some destinations refuse anyway.
//!
//! A shutdown that has reached its deadline *abandons* the queue: what is pending counts as dropped, and what a worker
//! that still hangs in an attempt reports later counts no more, so that every profile is counted exactly once.

use super::retry::Clock;
use super::spool::{Entry, Spool};
use crate::profile::Profile;
use crate::stats::{DropReason, ExporterStats};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How much may wait, and how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Profiles of one batch.
    pub(super) batch_size: usize,
    /// How long the first profile of a batch waits for others.
    pub(super) batch_timeout: Duration,
    /// Profiles in the queue.
    pub(super) max_profiles: usize,
    /// Bytes of these, estimated.
    pub(super) max_bytes: usize,
}

pub(super) struct Queue {
    limits: Limits,
    /// Where profiles are that leave the queue undelivered.
    spool: Option<Arc<Spool>>,
    stats: Arc<ExporterStats>,
    state: Mutex<State>,
    /// Notified at every change of the state. A queue has one worker and hardly ever a caller that waits.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    /// The number of the next profile.
    next: u64,
    /// The batch under way: the number of its first profile, and how many of it are not settled.
    under_way: Option<(u64, usize)>,
    /// Profiles below this number are not to wait for others.
    flush_below: u64,
    /// Set once a shutdown has begun: its deadline.
    stop: Option<Instant>,
    abandoned: bool,
    /// The worker has ended.
    finished: bool,
    last_error: Option<String>,
}

struct Waiting {
    number: u64,
    profile: Arc<Profile>,
    /// Where it is on disk.
    entry: Option<Entry>,
    bytes: usize,
    since: Instant,
}

/// A profile of a batch, and where it is on disk.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) profile: Arc<Profile>,
    pub(super) entry: Option<Entry>,
}

/// What has become of (a part of) the batch under way.
#[derive(Debug)]
pub(super) enum Settled {
    /// The destination took it, but for so many profiles (no more than there are), in one request of so many bytes.
    Delivered { rejected: usize, bytes: u64, message: Option<String> },
    /// It is lost.
    Dropped { reason: DropReason, error: String },
}

/// A promise that a caller waits for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    flush_below: u64,
    dropped_before: u64,
}

/// How a caller's wait ended.
#[derive(Debug)]
pub(super) enum Waited {
    /// Everything was delivered.
    Delivered,
    /// Everything was settled, but so many profiles were lost, the last of them for this reason.
    Lost(u64, Option<String>),
    /// The deadline came first.
    Late,
}

impl Queue {
    pub(super) fn new(limits: Limits, spool: Option<Arc<Spool>>, stats: Arc<ExporterStats>) -> Self {
        Self { limits, spool, stats, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Takes a profile; never waits. What does not fit pushes out the oldest.
    pub(super) fn push(&self, profile: Arc<Profile>, entry: Option<Entry>) {
        let bytes = profile.estimated_bytes();
        let mut state = self.lock();
        self.stats.given.add(1);
        if state.stop.is_some() || state.finished {
            let stopped = state.stop.is_some();
            let reason = if stopped { DropReason::Shutdown } else { DropReason::Panicked };
            self.stats.drop_profiles(reason, 1);
            return;
        }
        let number = state.next;
        state.next += 1;
        state.waiting_bytes = state.waiting_bytes.saturating_add(bytes);
        state.waiting.push_back(Waiting { number, profile, entry, bytes, since: Instant::now() });
        while state.waiting.len() > self.limits.max_profiles || state.waiting_bytes > self.limits.max_bytes {
            // A profile larger than the whole queue pushes out itself in the end.
            let Some(oldest) = state.pop() else { break };
            if let (Some(spool), Some(entry)) = (&self.spool, oldest.entry) {
                spool.keep(entry);
            }
            self.stats.drop_profiles(DropReason::QueueFull, 1);
        }
        self.changed.notify_all();
    }

    /// Waits for a batch to become due, and takes it; `None` when the worker is to end.
    pub(super) fn take_batch(&self) -> Option<Vec<Queued>> {
        let mut state = self.lock();
        loop {
            let Some(oldest) = state.waiting.front() else {
                if state.stop.is_some() {
                    return None;
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let age = oldest.since.elapsed();
            let due = state.stop.is_some()
                || oldest.number < state.flush_below
                || state.waiting.len() >= self.limits.batch_size
                || age >= self.limits.batch_timeout;
            if due {
                return Some(state.take(self.limits.batch_size));
            }
            state = self.wait(state, self.limits.batch_timeout.saturating_sub(age));
        }
    }

    /// Settles `count` profiles of the batch under way.
    pub(super) fn settle(&self, count: usize, settled: Settled) {
        let mut state = self.lock();
        if state.abandoned {
            return;
        }
        self.count(&mut state, count, settled);
        state.under_way = match state.under_way {
            Some((first, left)) if left > count => Some((first, left - count)),
            _ => None,
        };
        self.changed.notify_all();
    }

    /// Settles a profile that came from disk and not from the queue.
    pub(super) fn settle_replayed(&self, settled: Settled) {
        self.count(&mut self.lock(), 1, settled);
    }

    fn count(&self, state: &mut State, count: usize, settled: Settled) {
        match settled {
            Settled::Delivered { rejected, bytes, message } => {
                self.stats.exported.add(count.saturating_sub(rejected) as u64);
                self.stats.drop_profiles(DropReason::Rejected, rejected as u64);
                self.stats.batches.add(1);
                self.stats.bytes_sent.add(bytes);
                if rejected > 0 {
                    state.last_error = message;
                }
            }
            Settled::Dropped { reason, error } => {
                self.stats.drop_profiles(reason, count as u64);
                state.last_error = Some(error);
            }
        }
    }

    /// Profiles of the batch under way have come in parts, so many more than they were.
    pub(super) fn add_parts(&self, count: usize) {
        let mut state = self.lock();
        if let Some((_, left)) = &mut state.under_way {
            *left += count;
            self.stats.given.add(count as u64);
        }
    }

    /// The batch under way is done with. Nothing of it should be left; if there is, it is lost, not pending for ever.
    pub(super) fn end_batch(&self) {
        let mut state = self.lock();
        let left = state.under_way.take().map_or(0, |(_, left)| left);
        self.stats.drop_profiles(DropReason::Rejected, left as u64);
        self.changed.notify_all();
    }

    /// Asks for everything taken so far.
    pub(super) fn begin_flush(&self) -> Ticket {
        let mut state = self.lock();
        state.flush_below = state.next;
        self.changed.notify_all();
        self.ticket(&state)
    }

    /// Waits for a flush.
    pub(super) fn wait_flushed(&self, ticket: Ticket, deadline: Instant) -> Waited {
        let done = |state: &State| state.oldest_pending() >= ticket.flush_below;
        let (state, done) = self.wait_for(done, deadline);
        if done { self.verdict(&state, ticket) } else { Waited::Late }
    }

    /// Begins a shutdown that is to end by `deadline`; of several, the earliest holds.
    pub(super) fn begin_stop(&self, deadline: Instant) -> Ticket {
        let mut state = self.lock();
        state.stop = Some(state.stop.map_or(deadline, |earlier| earlier.min(deadline)));
        self.changed.notify_all();
        self.ticket(&state)
    }

    /// Waits for the worker to end; at the deadline, abandons it.
    pub(super) fn wait_stopped(&self, ticket: Ticket, deadline: Instant) -> Waited {
        let (mut state, done) = self.wait_for(|state| state.finished || state.abandoned, deadline);
        if done {
            return self.verdict(&state, ticket);
        }
        state.abandoned = true;
        self.drop_pending(&mut state, DropReason::Shutdown);
        self.changed.notify_all();
        Waited::Late
    }

    /// Whether a shutdown has begun.
    pub(super) fn is_stopping(&self) -> bool {
        self.lock().stop.is_some()
    }

    /// Whether the worker has ended.
    pub(super) fn is_finished(&self) -> bool {
        self.lock().finished
    }

    /// The worker has ended: in order, or because it panicked outside every guard.
    pub(super) fn finish(&self) {
        let mut state = self.lock();
        state.finished = true;
        self.drop_pending(&mut state, DropReason::Panicked);
        self.changed.notify_all();
    }

    fn drop_pending(&self, state: &mut State, reason: DropReason) {
        let under_way = state.under_way.take().map_or(0, |(_, left)| left);
        let waiting = state.waiting.len();
        state.waiting.clear();
        state.waiting_bytes = 0;
        self.stats.drop_profiles(reason, (waiting + under_way) as u64);
    }

    fn ticket(&self, state: &State) -> Ticket {
        Ticket { flush_below: state.next, dropped_before: self.stats.dropped().total() }
    }

    fn verdict(&self, state: &State, ticket: Ticket) -> Waited {
        match self.stats.dropped().total().saturating_sub(ticket.dropped_before) {
            0 => Waited::Delivered,
            lost => Waited::Lost(lost, state.last_error.clone()),
        }
    }

    /// Waits until `done` or `deadline`; says whether it is done.
    fn wait_for(&self, done: impl Fn(&State) -> bool, deadline: Instant) -> (MutexGuard<'_, State>, bool) {
        let mut state = self.lock();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if done(&state) {
                return (state, true);
            }
            if left.is_zero() {
                return (state, false);
            }
            state = self.wait(state, left);
        }
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, timeout: Duration) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, timeout).unwrap_or_else(PoisonError::into_inner).0
    }

    /// No code of ours panics while it holds the lock, so that a poisoned state is a whole one.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn pop(&mut self) -> Option<Waiting> {
        let waiting = self.waiting.pop_front()?;
        self.waiting_bytes = self.waiting_bytes.saturating_sub(waiting.bytes);
        Some(waiting)
    }

    /// Takes up to `count` profiles; there is at least one.
    fn take(&mut self, count: usize) -> Vec<Queued> {
        let first = self.waiting.front().map_or(self.next, |waiting| waiting.number);
        let mut profiles = Vec::with_capacity(count.min(self.waiting.len()));
        while profiles.len() < count
            && let Some(waiting) = self.pop()
        {
            profiles.push(Queued { profile: waiting.profile, entry: waiting.entry });
        }
        self.under_way = Some((first, profiles.len()));
        profiles
    }

    /// The number of the oldest profile that is not settled; that of the next one if there is none.
    fn oldest_pending(&self) -> u64 {
        let waiting = self.waiting.front().map_or(self.next, |waiting| waiting.number);
        self.under_way.map_or(waiting, |(first, _)| first)
    }
}

/// The time of one batch: it ends with the retry policy's, or with the shutdown.
pub(super) struct BatchClock<'a> {
    queue: &'a Queue,
    ends: Instant,
}

impl<'a> BatchClock<'a> {
    pub(super) const fn new(queue: &'a Queue, ends: Instant) -> Self {
        Self { queue, ends }
    }
}

impl Clock for BatchClock<'_> {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn deadline(&self) -> Instant {
        self.queue.lock().stop.map_or(self.ends, |stop| stop.min(self.ends))
    }

    fn wait_until(&self, until: Instant) -> bool {
        let was_stopping = self.queue.is_stopping();
        self.queue.wait_for(|state| state.abandoned || state.stop.is_some() != was_stopping, until).1
    }
}
