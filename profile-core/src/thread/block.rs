//! One thread's block.

use crate::context::RecordIndex;
use crate::ring::Ring;
use crate::sync::interruptible;
use std::ops::Range;
use std::sync::atomic::{AtomicI32, AtomicU8, AtomicU32, AtomicU64, Ordering};

/// How many entered spans a thread's stack remembers. The code of deeper ones counts for the innermost remembered one.
pub(super) const STACK: usize = 128;

/// Everything the profiler keeps for one thread. All zero is a valid, unused block: it is all atomics, so that the thread,
/// its signal handler and the collector can share it.
#[repr(C, align(64))]
pub(crate) struct Block {
    // Written by the thread on every enter and exit, read by its signal handler. The entry at `depth` is the innermost
    // span's; the first entry, at depth 0, is never written and says "no span".
    pub(super) depth: AtomicU32,
    /// The region and the label set that the thread is in.
    pub(super) region: interruptible::AtomicU32,
    pub(super) labels: interruptible::AtomicU32,
    pub(super) records: [AtomicU32; STACK + 1],
    pub(super) keys: [AtomicU64; STACK + 1],

    // Written by whoever registers the thread, read by the handler.
    stack_low: AtomicU64,
    stack_high: AtomicU64,
    tid: AtomicI32,
    life: AtomicU8,

    // The sampler's: what makes its signals, see `Ticker`.
    timer: AtomicI32,
    // The sampler's, for events: how many periods of the thread's CPU time since `cpu_base` are accounted for. Written by
    // whoever makes the event before it starts, then by the thread's handler.
    periods: AtomicU64,
    // The registry's: the thread's start time in ticks since boot; 0 for a thread that registered itself and will say
    // when it ends.
    start_time: AtomicU64,
    // The thread's CPU clock in nanoseconds, each plus one, 0 when not read: when the sampler first saw the thread in its
    // present run (what came before is not ours to count), and when the thread ended.
    cpu_base: AtomicU64,
    cpu_end: AtomicU64,

    // Filled by the thread and its handler, emptied by the collector.
    pub(crate) ring: Ring,
}

/// Where a block is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Life {
    /// Nobody's.
    Free = 0,
    /// A living thread's.
    Live = 1,
    /// Its thread has ended or is about to; the collector empties the ring once more.
    Ended = 2,
}

/// What makes a thread's signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ticker {
    /// The kernel's timer of this id.
    Timer(i32),
    /// The event with this file.
    Event(i32),
}

const NO_TIMER: i32 = 0;
const MAKING_TIMER: i32 = -1;

impl Ticker {
    /// Timers become numbers from 1 on, events numbers from -2 down.
    const fn to_word(self) -> i32 {
        match self {
            Self::Timer(id) => id.wrapping_add(1),
            Self::Event(fd) => -2 - fd,
        }
    }

    const fn from_word(word: i32) -> Option<Self> {
        match word {
            NO_TIMER | MAKING_TIMER => None,
            1.. => Some(Self::Timer(word - 1)),
            _ => Some(Self::Event(-2 - word)),
        }
    }
}

impl Block {
    /// Hands the block to a thread.
    pub(super) fn begin(&self, tid: i32, start_time: u64, stack: Option<Range<u64>>) {
        self.forget_published();
        self.tid.store(tid, Ordering::Relaxed);
        self.start_time.store(start_time, Ordering::Relaxed);
        self.forget_clocks();
        self.set_stack(stack.unwrap_or(0..0));
        self.life.store(Life::Live as u8, Ordering::Release);
    }

    /// Says where the thread's stack lies. High last: a handler in between sees an empty range and reads nothing.
    pub(crate) fn set_stack(&self, stack: Range<u64>) {
        self.stack_high.store(0, Ordering::Relaxed);
        std::sync::atomic::compiler_fence(Ordering::SeqCst);
        self.stack_low.store(stack.start, Ordering::Relaxed);
        std::sync::atomic::compiler_fence(Ordering::SeqCst);
        self.stack_high.store(stack.end, Ordering::Release);
    }

    /// Where the thread's stack lies; empty if that is not known.
    #[inline]
    pub(crate) fn stack(&self) -> Range<u64> {
        let high = self.stack_high.load(Ordering::Acquire);
        self.stack_low.load(Ordering::Relaxed)..high
    }

    /// The thread is in no span and no region.
    pub(super) fn forget_published(&self) {
        self.depth.store(0, Ordering::Relaxed);
        self.region.store(0, Ordering::Relaxed);
        self.labels.store(0, Ordering::Relaxed);
    }

    /// The record of the span that the thread is in. Safe in its signal handler: two loads and a bounds check.
    #[inline]
    pub(crate) fn current(&self) -> RecordIndex {
        let depth = self.depth.load(Ordering::Relaxed) as usize;
        let record = self.records.get(depth.min(STACK));
        record.map_or(RecordIndex::NONE, |record| RecordIndex::from_u32(record.load(Ordering::Relaxed)))
    }

    /// The region and the labels that the thread is in, as a word of a sample; 0 if neither. Safe in a signal handler: two
    /// loads. The thread stores one at a time, so between two of its stores they are those of the code in between.
    #[inline]
    pub(crate) fn scope_word(&self) -> u64 {
        u64::from(self.region.load(Ordering::Relaxed)) | u64::from(self.labels.load(Ordering::Relaxed)) << 32
    }

    /// The kernel's id of the thread.
    pub(crate) fn tid(&self) -> i32 {
        self.tid.load(Ordering::Relaxed)
    }

    /// When the thread started; 0 if it registered itself.
    pub(super) fn start_time(&self) -> u64 {
        self.start_time.load(Ordering::Relaxed)
    }

    /// Makes a thread that the scan had found one that will say when it ends. It is in no span yet.
    pub(super) fn adopt(&self) {
        self.forget_published();
        self.start_time.store(0, Ordering::Relaxed);
    }

    /// Whether the thread was found by the scan and has not registered itself.
    #[inline]
    pub(crate) fn was_found(&self) -> bool {
        self.start_time.load(Ordering::Relaxed) != 0
    }

    /// In a forked child: the thread is another one now, on the same stack and in the same spans. Timers are not inherited.
    pub(super) fn survive_fork(&self, tid: i32) {
        self.tid.store(tid, Ordering::Relaxed);
        self.set_timer(None);
        self.forget_clocks();
    }

    /// Forgets what the CPU clock said, for a new thread or a new run of the sampler.
    pub(crate) fn forget_clocks(&self) {
        self.cpu_base.store(0, Ordering::Relaxed);
        self.cpu_end.store(0, Ordering::Relaxed);
    }

    /// Notes what the thread's CPU clock says, unless it was noted before.
    pub(crate) fn set_cpu_base(&self, nanos: u64) {
        let _known =
            self.cpu_base.compare_exchange(0, nanos.saturating_add(1), Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The thread's CPU clock when the sampler first saw it.
    pub(crate) fn cpu_base(&self) -> Option<u64> {
        self.cpu_base.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Notes what the thread's CPU clock says at its end.
    pub(crate) fn set_cpu_end(&self, nanos: u64) {
        self.cpu_end.store(nanos.saturating_add(1), Ordering::Relaxed);
    }

    /// The thread's CPU clock when it ended, if it said so.
    pub(crate) fn cpu_end(&self) -> Option<u64> {
        self.cpu_end.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Where the block is in its life.
    pub(crate) fn life(&self) -> Life {
        match self.life.load(Ordering::Acquire) {
            1 => Life::Live,
            2 => Life::Ended,
            _ => Life::Free,
        }
    }

    pub(super) fn set_life(&self, life: Life) {
        self.life.store(life as u8, Ordering::Release);
    }

    /// Claims the right to give the thread a timer. Whoever gets `true` must call [`set_timer`](Self::set_timer).
    pub(crate) fn claim_timer(&self) -> bool {
        self.timer.compare_exchange(NO_TIMER, MAKING_TIMER, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Stores the claimed timer; `None` if it could not be made.
    pub(crate) fn set_timer(&self, ticker: Option<Ticker>) {
        self.timer.store(ticker.map_or(NO_TIMER, Ticker::to_word), Ordering::Release);
    }

    /// Takes the timer out of the block, so that exactly one caller deletes it.
    pub(crate) fn take_timer(&self) -> Option<Ticker> {
        let mut now = self.timer.load(Ordering::Acquire);
        while let Some(ticker) = Ticker::from_word(now) {
            match self.timer.compare_exchange(now, NO_TIMER, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(ticker),
                Err(other) => now = other,
            }
        }
        None
    }

    /// What makes the thread's signals.
    pub(crate) fn ticker(&self) -> Option<Ticker> {
        Ticker::from_word(self.timer.load(Ordering::Acquire))
    }

    /// Whether the thread has a timer or an event.
    pub(crate) fn has_timer(&self) -> bool {
        self.ticker().is_some()
    }

    /// Notes that so many periods of the thread's CPU time are accounted for; answers how many were before.
    #[inline]
    pub(crate) fn swap_periods(&self, periods: u64) -> u64 {
        self.periods.swap(periods, Ordering::Relaxed)
    }
}
