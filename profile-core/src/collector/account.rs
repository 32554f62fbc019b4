//! The truth about what was not sampled.
//!
//! CPU timers expire on the kernel's tick, so a thread that lives for less than a tick may never be sampled, a thread
//! that blocks SIGPROF is not, and a thread for which there is no timer is not. The CPU clocks see all of them. At the
//! end of a window the clocks are compared with the samples, and what is missing beyond sampling error becomes a sample
//! without a stack, named by its reason, so that totals are true.
//!
//! A timer whose first expiry is uniform over its period counts CPU time ÷ period on average, and is never off by more
//! than one period, however long it runs. So the comparison is cumulative since the start: the error of a sum over n threads
//! stays near √n periods and does not grow with time.

use super::window::Loss;
use crate::thread::{Block, BlockIndex, Life};
use hashbrown::HashMap;

/// What is known about one thread.
#[derive(Debug, Default)]
struct Account {
    /// CPU time since the thread was first sampled, in nanoseconds.
    used: u64,
    /// Periods that its samples and losses cover, those exported as unsampled included.
    covered: u64,
    has_timer: bool,
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
    /// How many threads with a timer there have been since the start, for the error of the sum.
    timers: u64,
}

impl Accounts {
    /// Starts at `process_cpu` nanoseconds of the process's CPU clock.
    pub(super) fn new(period: u64, process_cpu: u64) -> Self {
        Self { period: period.max(1), base: process_cpu, threads: HashMap::new(), covered: 0, timers: 0 }
    }

    /// Counts a sample, or a loss with a known thread.
    pub(super) fn covered(&mut self, thread: BlockIndex, weight: u64) {
        self.threads.entry(thread).or_default().covered += weight;
        self.covered += weight;
    }

    /// Reads what a living thread's clock says.
    pub(super) fn read(&mut self, thread: BlockIndex, block: &Block, cpu_now: u64) {
        if block.life() != Life::Live {
            return;
        }
        let account = self.threads.entry(thread).or_default();
        account.used = cpu_now.saturating_sub(block.cpu_base.load(std::sync::atomic::Ordering::Relaxed));
        if block.has_timer() && !account.has_timer {
            account.has_timer = true;
            self.timers += 1;
        }
    }

    /// Forgets a thread that is gone. What it used stays part of the process's clock.
    pub(super) fn ended(&mut self, thread: BlockIndex) {
        self.threads.remove(&thread);
    }

    /// What the samples do not cover, in periods with reasons; what is returned counts as covered from now on.
    pub(super) fn settle(&mut self, process_cpu: u64) -> Vec<(Loss, u64)> {
        let mut losses = Vec::new();
        let total = process_cpu.saturating_sub(self.base) / self.period;
        let mut missing = total.saturating_sub(self.covered);
        if missing <= self.noise() {
            return losses;
        }
        for account in self.threads.values_mut() {
            // A timer is never off by more than a period; three leave room for clocks read at slightly different times.
            let own = (account.used / self.period).saturating_sub(account.covered).min(missing);
            if own <= 3 {
                continue;
            }
            let reason = if account.has_timer { Loss::SignalBlocked } else { Loss::NoTimer };
            account.covered += own;
            missing -= own;
            losses.push((reason, own));
        }
        if missing > self.noise() {
            losses.push((Loss::ShortLivedThreads, missing));
        }
        self.covered += losses.iter().map(|(_, weight)| weight).sum::<u64>();
        losses
    }

    /// Three standard deviations of the sum's sampling error, in periods: each timer's is uniform over one period on
    /// either side, so its variance is at most a sixth.
    fn noise(&self) -> u64 {
        let variance = self.timers.max(1) as f64 / 6.0;
        (3.0 * variance.sqrt()).ceil() as u64 + 1
    }
}
