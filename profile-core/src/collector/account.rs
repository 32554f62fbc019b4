//! The truth about what was not sampled.
//!
//! CPU timers expire on the kernel's tick, so a thread that lives for less than a tick may never be sampled, a thread
//! that blocks SIGPROF is not, and a thread for which there is no timer is not. The CPU clocks see all of them. They are
//! compared with the samples, and what is missing beyond sampling error becomes a sample without a stack, named by its
//! reason, so that totals are true.
//!
//! A timer whose first expiry is uniform over its period counts CPU time ÷ period on average, and is never off by more
//! than one period, however long it runs. So the comparison is cumulative since the start: the error of a sum over n threads
//! stays near √n periods and does not grow with time.
//!
//! Threads without a timer are counted as missing at once, unless they share one: then their samples come at whatever moments,
//! and each [stands for](Accounts::shared) what their clock says is missing. A thread that gets no such sample for long is
//! told of when a window ends.
//!
//! What a timer did not get delivered it has not forgotten: when the thread takes signals again, one arrives that stands
//! for all periods since. Those of them that were exported as missing by then are left out of that sample.

use super::window::Loss;
use crate::thread::BlockIndex;
use hashbrown::HashMap;

/// What is known about one thread.
#[derive(Debug, Default)]
struct Account {
    /// CPU time since the thread was first seen in this run, in nanoseconds.
    used: u64,
    /// Periods that its samples and losses cover, those exported as missing included.
    covered: u64,
    /// Of these, the periods exported as missing that its timer may still deliver.
    owed: u64,
    has_timer: bool,
    /// Whether it blocked SIGPROF when it was last looked at.
    blocks: bool,
}

/// Compares clocks with samples.
#[derive(Debug)]
pub(super) struct Accounts {
    period: u64,
    /// The process's CPU clock at the start.
    base: u64,
    threads: HashMap<BlockIndex, Account>,
    /// Periods covered in all, since the start.
    covered: u64,
    /// Whether the system has refused timers.
    refused: bool,
    /// Whether those who have none share one.
    sharing: bool,
    /// Whether the engine does not see CPU time in the kernel.
    blind_to_kernel: bool,
}

/// How far a timer may be behind its clock for want of a tick: two ticks of the slowest kernels, in nanoseconds.
const LATE: u64 = 20_000_000;
/// How much of a thread's CPU time must be missing before it is asked whether it blocks SIGPROF, in nanoseconds.
const SUSPICIOUS: u64 = 100_000_000;
/// A usual tick, in nanoseconds: how far a thread's timer is behind when the thread is put to sleep before its tick.
const TICK: u64 = 4_000_000;

/// The process as a whole, when accounts are settled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whole {
    /// Its CPU clock, in nanoseconds.
    pub(super) cpu_nanos: u64,
    /// How many timers there have been in this run.
    pub(super) timers: u64,
    /// Whether this is the end of the run: what is still open now stays open.
    pub(super) is_last: bool,
}

impl Accounts {
    /// Starts at `process_cpu` nanoseconds of the process's CPU clock.
    pub(super) fn new(period: u64, process_cpu: u64, blind_to_kernel: bool) -> Self {
        Self {
            period: period.max(1),
            base: process_cpu,
            threads: HashMap::new(),
            covered: 0,
            refused: false,
            sharing: false,
            blind_to_kernel,
        }
    }

    /// Notes whether the system has refused timers: the reason why a thread may have none. And whether those threads share
    /// one.
    pub(super) fn refused(&mut self, refused: bool, sharing: bool) {
        self.refused = refused;
        self.sharing = sharing;
    }

    /// How many periods a sample of a thread without a timer stands for, the thread having just been [read](Self::read):
    /// as many as are missing, if it is one of `samples` that came at once.
    pub(super) fn shared(&mut self, thread: BlockIndex, samples: u64) -> u64 {
        let Some(account) = self.threads.get_mut(&thread).filter(|account| !account.has_timer) else {
            return 0;
        };
        let weight = account.missing(self.period).div_ceil(samples.max(1));
        account.covered += weight;
        self.covered += weight;
        weight
    }

    /// Settles with a thread that has just got a timer of its own.
    pub(super) fn gained(&mut self, thread: BlockIndex) -> Option<(Loss, u64)> {
        let missing = self.threads.get(&thread)?.missing(self.period);
        (missing > 0).then(|| self.lose(thread, missing))
    }

    /// Counts a sample of a thread. Returns how much of its weight is new: not exported as missing already.
    pub(super) fn sampled(&mut self, thread: BlockIndex, weight: u64) -> u64 {
        let usual = 1 + LATE / self.period;
        let account = self.threads.entry(thread).or_default();
        account.has_timer = true;
        // All that the timer owed arrives at once, with the first signal that is delivered again.
        let owed = std::mem::take(&mut account.owed);
        let known = if weight > usual { owed.min(weight - 1) } else { 0 };
        account.covered += weight - known;
        self.covered += weight - known;
        weight - known
    }

    /// Counts samples of a thread that were lost on their way.
    pub(super) fn dropped(&mut self, thread: BlockIndex, weight: u64) {
        self.threads.entry(thread).or_default().covered += weight;
        self.covered += weight;
    }

    /// Reads what a living thread's clock says: `used` nanoseconds since it was first seen in this run. A thread gets its
    /// timer right after it was [looked at](Self::look), so that nothing is missing then, and keeps it to the end of the run.
    pub(super) fn read(&mut self, thread: BlockIndex, used: u64, has_timer: bool) {
        let account = self.threads.entry(thread).or_default();
        account.used = used;
        account.has_timer |= has_timer;
    }

    /// Settles with a living thread that has just been [read](Self::read), between two windows: at once what nobody else
    /// will ever tell. `blocks` is asked only when much is missing: whether the thread blocks SIGPROF.
    pub(super) fn look(&mut self, thread: BlockIndex, blocks: impl FnOnce() -> bool) -> Option<(Loss, u64)> {
        let period = self.period;
        let account = self.threads.get_mut(&thread)?;
        let missing = account.missing(period);
        let is_known = if account.has_timer {
            account.blocks = missing > SUSPICIOUS / period && blocks();
            account.blocks
        } else {
            !self.sharing && missing > account.slack(period, false)
        };
        is_known.then(|| self.lose(thread, missing))
    }

    /// Settles with a thread that is gone and forgets it. `used` is what it said at its end, if it did.
    pub(super) fn ended(&mut self, thread: BlockIndex, used: Option<u64>) -> Option<(Loss, u64)> {
        let account = self.threads.get_mut(&thread)?;
        account.used = used.unwrap_or(account.used);
        let missing = account.missing(self.period);
        let is_known = account.blocks || !account.has_timer;
        let loss =
            (is_known && missing > account.slack(self.period, false)).then(|| self.lose(thread, missing));
        self.threads.remove(&thread);
        loss
    }

    /// What the samples do not cover, in periods with reasons; what is returned counts as covered from now on. `blocks` is
    /// asked of threads of which much is missing.
    pub(super) fn settle(&mut self, whole: Whole, blocks: impl Fn(BlockIndex) -> bool) -> Vec<(Loss, u64)> {
        let mut losses = Vec::new();
        let total = whole.cpu_nanos.saturating_sub(self.base) / self.period;
        let is_open = self.sharing && !whole.is_last;
        let noise = self.noise(whole.timers) + if is_open { self.open() } else { 0 };
        if total.saturating_sub(self.covered) <= noise {
            return losses;
        }
        let threads: Vec<BlockIndex> = self.threads.keys().copied().collect();
        for thread in threads {
            let Some(account) = self.threads.get_mut(&thread) else { continue };
            let own = account.missing(self.period).min(total.saturating_sub(self.covered));
            if own > account.slack(self.period, is_open) {
                account.blocks = account.has_timer && blocks(thread);
                losses.push(self.lose(thread, own));
            }
        }
        let missing = total.saturating_sub(self.covered);
        if missing > noise {
            self.covered += missing;
            losses.push((Loss::ShortLivedThreads, missing));
        }
        losses
    }

    /// Counts `missing` periods of a thread as exported.
    fn lose(&mut self, thread: BlockIndex, missing: u64) -> (Loss, u64) {
        self.covered += missing;
        let account = self.threads.entry(thread).or_default();
        account.covered += missing;
        if account.has_timer {
            account.owed += missing;
        }
        let reason = match account {
            Account { has_timer: false, .. } if self.refused => Loss::NoTimer,
            Account { blocks: true, .. } => Loss::SignalBlocked,
            Account { has_timer: true, .. } if self.blind_to_kernel => Loss::KernelTime,
            _ => Loss::Unsampled,
        };
        (reason, missing)
    }

    /// Periods that a later sample by the shared timer may stand for.
    fn open(&self) -> u64 {
        let missing = |account: &Account| account.missing(self.period);
        let is_open =
            |account: &&Account| !account.has_timer && missing(account) <= account.slack(self.period, true);
        self.threads.values().filter(is_open).map(missing).sum()
    }

    /// Three standard deviations of the sum's sampling error, in periods: each timer's is uniform over one period on
    /// either side, so its variance is at most a sixth. And what the timers of sleeping threads are behind.
    fn noise(&self, timers: u64) -> u64 {
        let variance = timers.max(1) as f64 / 6.0;
        let behind = self.threads.len() as u64 * (TICK / self.period) / 2;
        (3.0 * variance.sqrt()).ceil() as u64 + 1 + behind
    }
}

impl Account {
    /// Periods that nothing covers.
    fn missing(&self, period: u64) -> u64 {
        (self.used / period).saturating_sub(self.covered)
    }

    /// How many may be missing without anything being wrong. For a thread without a timer: while a sample by the shared one
    /// may still come, `open`, many times what lies between two on average.
    fn slack(&self, period: u64, open: bool) -> u64 {
        match (self.has_timer, open) {
            (true, _) => 3 + LATE / period,
            (false, true) => 10 + 10 * LATE / period,
            (false, false) => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    const MS: u64 = 1_000_000;

    fn thread(number: u32) -> BlockIndex {
        BlockIndex::of_no_thread(number)
    }

    fn whole(cpu_nanos: u64) -> Whole {
        Whole { cpu_nanos, timers: 1, is_last: false }
    }

    #[test]
    fn what_was_exported_as_blocked_does_not_come_twice() {
        let mut accounts = Accounts::new(MS, 0, false);
        let (one, never) = (thread(0), || -> bool { panic!("asked although little is missing") });
        accounts.read(one, 50 * MS, true);
        assert_eq!(accounts.look(one, never), None);
        accounts.read(one, 400 * MS, true);
        assert_eq!(accounts.look(one, || true), Some((Loss::SignalBlocked, 400)));
        accounts.read(one, 500 * MS, true);
        // Unblocked at 500 ms: one signal that stands for everything, of which 400 are known.
        assert_eq!(accounts.sampled(one, 500), 100);
        assert_eq!((1..=100).map(|_| accounts.sampled(one, 1)).sum::<u64>(), 100, "later ones count in full");
        accounts.read(one, 600 * MS, true);
        assert_eq!(accounts.settle(whole(600 * MS), |_| true), []);
    }

    #[test]
    fn usual_samples_are_never_taken_for_owed_ones() {
        let mut accounts = Accounts::new(MS, 0, false);
        let one = thread(0);
        accounts.read(one, 1_000 * MS, true);
        assert_eq!(accounts.look(one, || false), None);
        // Another library swallowed the signals, and with them the overruns.
        assert_eq!(accounts.settle(whole(1_000 * MS), |_| false), [(Loss::Unsampled, 1_000)]);
        assert_eq!((0..1_000).map(|_| accounts.sampled(one, 4)).sum::<u64>(), 4_000);
    }

    #[test]
    fn a_thread_without_a_timer_is_told_of_at_once_and_owes_nothing() {
        let mut accounts = Accounts::new(MS, 0, false);
        accounts.refused(true, false);
        let one = thread(0);
        accounts.read(one, 700 * MS, false);
        assert_eq!(accounts.look(one, || unreachable!()), Some((Loss::NoTimer, 700)));
        accounts.read(one, 700 * MS, true);
        assert_eq!(accounts.look(one, || unreachable!()), None);
        assert_eq!(accounts.sampled(one, 300), 300, "a long system call, after it got its timer");
    }

    #[test]
    fn samples_by_the_shared_timer_stand_for_what_the_clock_says() {
        let mut accounts = Accounts::new(MS, 0, false);
        accounts.refused(true, true);
        let (hit, missed) = (thread(0), thread(1));
        let read = |accounts: &mut Accounts, used| {
            accounts.read(hit, used, false);
            accounts.read(missed, used, false);
        };
        read(&mut accounts, 100 * MS);
        assert_eq!(accounts.look(hit, || unreachable!()), None, "a sample may still come");
        assert_eq!([accounts.shared(hit, 2), accounts.shared(hit, 1)], [50, 50]);
        assert_eq!(accounts.shared(hit, 1), 0, "nothing is missing any more");
        assert_eq!(accounts.settle(whole(200 * MS), |_| false), [], "the other's may come too");
        read(&mut accounts, 400 * MS);
        assert_eq!(accounts.shared(hit, 1), 300);
        assert_eq!(accounts.settle(whole(800 * MS), |_| false), [(Loss::NoTimer, 400)], "it is not coming");
        read(&mut accounts, 420 * MS);
        assert_eq!(accounts.gained(hit), Some((Loss::NoTimer, 20)), "it has its own timer from now on");
        let end = Whole { is_last: true, ..whole(840 * MS) };
        assert_eq!(accounts.settle(end, |_| false), [(Loss::NoTimer, 20)], "what was open stays so");
    }

    #[test]
    fn an_engine_that_is_blind_to_the_kernel_says_so() {
        let mut accounts = Accounts::new(MS, 0, true);
        accounts.read(thread(0), 1_000 * MS, true);
        assert_eq!((0..400).map(|_| accounts.sampled(thread(0), 1)).sum::<u64>(), 400);
        assert_eq!(accounts.settle(whole(1_000 * MS), |_| false), [(Loss::KernelTime, 600)]);
    }

    #[test]
    fn the_rest_is_of_threads_that_nobody_saw() {
        let mut accounts = Accounts::new(MS, 10 * MS, false);
        assert_eq!(accounts.sampled(thread(1), 50), 50);
        assert_eq!(accounts.settle(whole(110 * MS), |_| false), [(Loss::ShortLivedThreads, 50)]);
        assert_eq!(accounts.settle(whole(112 * MS), |_| false), [], "within the error of the sum");
        assert_eq!(accounts.ended(thread(1), Some(60 * MS)), None, "part of the sum already");
    }
}
