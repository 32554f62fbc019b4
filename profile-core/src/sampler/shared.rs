//! Threads that were refused a timer of their own share one on the CPU clock of the process.
//!
//! Every POSIX timer takes a slot of the user's `RLIMIT_SIGPENDING`, and when those are used up there are no more timers.
//! One slot is taken at the start of a run, for a timer on the process's clock that rests until it is needed. The kernel
//! gives each of its signals to the thread that was running when it expired: one that has no timer takes a sample, one
//! that has its own lets it pass. How often a thread is hit says little about how much CPU time it used, so the sample
//! says only where the thread was; the collector reads the thread's clock to learn how much the sample stands for.
//!
//! The signal does not name the thread, so the handler asks the kernel for its id, and looks that up here.

use crate::sys::{task, timer};
use crate::thread::{Block, BlockIndex, Life};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

/// The timer's kernel id plus one, 0 if there is none.
static TIMER: AtomicI32 = AtomicI32::new(0);
static IS_ARMED: AtomicBool = AtomicBool::new(false);

/// What the cookie of the shared timer has in the place of a block's number.
pub(super) const INDEX: u32 = 0xffff;

const SLOTS: usize = 1 << 12;
/// How many slots a thread's id may be in, from the one on that the id itself names.
const REACH: usize = 16;
/// Threads without a timer: id above the block's number plus one; 0 is empty.
static THREADS: [AtomicU64; SLOTS] = [const { AtomicU64::new(0) }; SLOTS];

/// Reserves the timer of a run. Without one, which is no error, threads that are refused a timer are not sampled.
pub(super) fn reserve(cookie: u64) {
    release();
    if let Ok(id) = timer::reserve(cookie) {
        TIMER.store(id.wrapping_add(1), Ordering::Release);
    }
}

/// Gives the timer back.
pub(super) fn release() {
    IS_ARMED.store(false, Ordering::Relaxed);
    if let Some(id) = id_of(TIMER.swap(0, Ordering::AcqRel)) {
        timer::delete(id);
    }
    THREADS
        .iter()
        .filter(|slot| slot.load(Ordering::Relaxed) != 0)
        .for_each(|slot| slot.store(0, Ordering::Release));
}

/// In a forked child: the timer is not inherited.
pub(super) fn forget() {
    TIMER.store(0, Ordering::Relaxed);
    IS_ARMED.store(false, Ordering::Relaxed);
}

/// Whether threads without a timer are sampled.
pub(crate) fn is_armed() -> bool {
    IS_ARMED.load(Ordering::Relaxed)
}

/// Has a thread that was refused a timer sampled. Again is a no-op.
pub(super) fn add(tid: i32, index: BlockIndex, schedule: timer::Schedule) {
    let Some(id) = id_of(TIMER.load(Ordering::Acquire)) else { return };
    let word = word(tid, index);
    if slots(tid).any(|slot| slot.load(Ordering::Acquire) == word) {
        return;
    }
    let is_placed =
        slots(tid).any(|slot| slot.compare_exchange(0, word, Ordering::AcqRel, Ordering::Relaxed).is_ok());
    if is_placed && !IS_ARMED.swap(true, Ordering::AcqRel) && timer::set(id, schedule).is_err() {
        IS_ARMED.store(false, Ordering::Relaxed);
    }
}

/// No longer has a thread sampled: it has a timer, or is gone.
pub(super) fn remove(tid: i32, index: BlockIndex) {
    if !is_armed() {
        return;
    }
    let word = word(tid, index);
    for slot in slots(tid) {
        // A slot that is another's stays as it is.
        let _ = slot.compare_exchange(word, 0, Ordering::AcqRel, Ordering::Relaxed);
    }
}

/// Puts the timer to rest when no thread needs it any more.
pub(super) fn rest_if_unused() {
    let is_used = || THREADS.iter().any(|slot| slot.load(Ordering::Relaxed) != 0);
    if is_armed() && !is_used() {
        IS_ARMED.store(false, Ordering::Relaxed);
        if let Some(id) = id_of(TIMER.load(Ordering::Acquire)) {
            timer::rest(id);
        }
    }
}

/// The calling thread's block if the thread is sampled here. For the handler: one system call, which takes no lock and cannot
/// wait, and a look at a few words. It is asked only for signals of the shared timer.
pub(super) fn own_block() -> Option<&'static Block> {
    let tid = task::current();
    let found = slots(tid)
        .map(|slot| slot.load(Ordering::Acquire))
        .find(|word| word >> 32 == u64::from(tid.unsigned_abs()));
    let number = u32::try_from(found? & 0xffff_ffff).ok()?.checked_sub(1)?;
    let block = BlockIndex::from_u32(number)?.get()?;
    (block.tid() == tid && block.life() == Life::Live && !block.has_timer()).then_some(block)
}

/// The timer that a value of [`TIMER`] stands for.
fn id_of(value: i32) -> Option<i32> {
    value.checked_sub(1).filter(|id| *id >= 0)
}

fn word(tid: i32, index: BlockIndex) -> u64 {
    u64::from(tid.unsigned_abs()) << 32 | u64::from(index.to_u32() + 1)
}

/// The slots that a thread may be in.
fn slots(tid: i32) -> impl Iterator<Item = &'static AtomicU64> {
    let first = tid.unsigned_abs() as usize;
    (first..first + REACH).filter_map(|slot| THREADS.get(slot % SLOTS))
}
