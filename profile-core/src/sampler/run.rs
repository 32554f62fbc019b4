//! Runs of the sampler: from a start to a stop, any number of times, in a process and in its forked children.
//!
//! Each run has a number, which travels in the cookies of its timers and in its samples: what is still on its way when
//! its run is over counts nothing in the next, whose period may be another.

use crate::sys::process;
use crate::unwind::{Guard, TableSlot, UnwindTables};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The number of a run: never 0, and not soon used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run(u16);

/// The present run, above it the process that it samples, as its [fork count](process::forks) plus one: a child inherits
/// the word, but no run. 0 while nothing is sampled.
static RUN: AtomicU64 = AtomicU64::new(0);

/// One slot for each depth of forks: a child starts with an empty one, whatever handlers were in flight and whoever was
/// replacing tables at the fork. The last one is for processes that are too deep to be sampled.
#[cfg(not(loom))]
static TABLES: [TableSlot; process::MAX_FORKS + 1] = [const { TableSlot::new() }; process::MAX_FORKS + 1];
/// Loom's atomics are not made in constants; no model uses these.
#[cfg(loom)]
static TABLES: std::sync::LazyLock<[TableSlot; process::MAX_FORKS + 1]> =
    std::sync::LazyLock::new(|| std::array::from_fn(|_| TableSlot::new()));

/// How long the end of a run waits for handlers that are taking a sample, on threads that may not be running.
const LEAVE: Duration = Duration::from_millis(200);

/// The unwind tables that samples are taken with. Safe in a signal handler: a load and an index.
#[inline]
pub(crate) fn tables() -> &'static TableSlot {
    &TABLES[(process::forks() as usize).min(process::MAX_FORKS)]
}

impl Run {
    /// Starts a run; there is none at present.
    pub(super) fn begin() -> Self {
        static LAST: AtomicU16 = AtomicU16::new(0);
        let next = || LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        // 0 is skipped when the counter comes round.
        let number = Some(next()).filter(|number| *number != 0).unwrap_or_else(next);
        RUN.store(owner() | u64::from(number), Ordering::SeqCst);
        Self(number)
    }

    /// Ends the present run. Handlers that are already taking a sample go on.
    pub(super) fn end() {
        RUN.store(0, Ordering::SeqCst);
    }

    /// Waits until no handler is taking a sample any more, but not for ever.
    pub(super) fn wait_for_handlers() {
        let until = Instant::now() + LEAVE;
        while tables().in_flight() > 0 && Instant::now() < until {
            std::thread::sleep(Duration::from_micros(50));
        }
    }

    /// The present run, if this process is being sampled. Safe in a signal handler: two loads.
    #[inline]
    pub(super) fn current() -> Option<Self> {
        let now = RUN.load(Ordering::SeqCst);
        (now != 0 && now & (u64::MAX << 32) == owner()).then_some(Self(now as u16))
    }

    /// The number.
    #[inline]
    pub(crate) const fn to_u16(self) -> u16 {
        self.0
    }

    /// What a sample keeps of the number.
    #[inline]
    pub(crate) const fn to_u8(self) -> u8 {
        self.0 as u8
    }
}

/// This process, in the upper half of [`RUN`].
#[inline]
fn owner() -> u64 {
    (u64::from(process::forks()) + 1) << 32
}

/// A handler that may take a sample: while it exists, the tables stay, and the end of the run waits.
#[derive(Debug)]
pub(crate) struct InHandler {
    tables: Guard<'static, UnwindTables>,
    run: Run,
}

impl InHandler {
    /// `None` when nothing is sampled. Safe in a signal handler: a few atomic operations.
    #[inline]
    pub(crate) fn enter() -> Option<Self> {
        // In flight before the run is looked at, and a stop looks the other way round: whoever the stop does not find in
        // flight finds that the run is over. See the module text of `unwind::slot`.
        let tables = tables().enter();
        Run::current().map(|run| Self { tables, run })
    }

    /// The tables, if there are any yet.
    #[inline]
    pub(crate) fn tables(&self) -> Option<&UnwindTables> {
        self.tables.get()
    }

    /// The run that samples belong to.
    #[inline]
    pub(crate) const fn run(&self) -> Run {
        self.run
    }
}
