//! The CPU engine: a timer on the CPU clock of every thread.
//!
//! A timer's first expiry is at a random point of its first period, so that threads that start together are not sampled
//! together, and so that the expected number of samples is exactly CPU time ÷ period. Periods that came due between two
//! looks of the kernel arrive as one signal with an overrun count, which becomes the sample's weight.

use super::Kind;
use super::capture::capture;
use crate::random;
use crate::sys::signal::{self, Tick};
use crate::sys::stack::Probe;
use crate::sys::timer::{self, Schedule};
use crate::sys::{clock, process};
use crate::thread::{self, Block, BlockIndex, OnThread, blocks};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};

static RUNNING: AtomicBool = AtomicBool::new(false);
static PERIOD: AtomicU64 = AtomicU64::new(0);
/// How to find the stack of a thread that did not register itself; 0 until calibrated.
static PROBE: AtomicU32 = AtomicU32::new(0);
/// The last error number of a refused timer, 0 if none was refused.
static REFUSED: AtomicI32 = AtomicI32::new(0);

/// Starts sampling: every `period_nanos` of its CPU time, each thread that has or gets a block.
///
/// # Errors
/// When the signal handler cannot be installed.
pub(crate) fn start(period_nanos: u64) -> io::Result<()> {
    process::watch_forks();
    thread::after_fork();
    signal::install(on_tick)?;
    REFUSED.store(0, Ordering::Relaxed);
    PERIOD.store(period_nanos.max(1), Ordering::Relaxed);
    thread::set_hook(OnThread { begins: arm, ends: disarm });
    RUNNING.store(true, Ordering::SeqCst);
    blocks().for_each(|(index, block)| arm(index, block));
    Ok(())
}

/// Stops sampling. The handler stays installed and passes on what is not ours.
pub(crate) fn stop() {
    RUNNING.store(false, Ordering::SeqCst);
    blocks().for_each(|(_, block)| disarm(block));
}

/// Learns how to find the stack of threads that do not register themselves. Call it on a thread made by the standard
/// library, not on the main thread.
pub(crate) fn calibrate() {
    if let Some(probe) = Probe::calibrate() {
        PROBE.store(probe.to_u32(), Ordering::Release);
    }
}

/// The error with which the system last refused a timer, if it did.
pub(crate) fn refused() -> Option<io::Error> {
    match REFUSED.load(Ordering::Relaxed) {
        0 => None,
        number => Some(io::Error::from_raw_os_error(number)),
    }
}

/// Gives a living thread a timer, unless it has one or nothing is being sampled.
pub(crate) fn arm(index: BlockIndex, block: &'static Block) {
    if !RUNNING.load(Ordering::SeqCst) || block.life() != thread::Life::Live || !block.claim_timer() {
        return;
    }
    let period_nanos = PERIOD.load(Ordering::Relaxed);
    let schedule = Schedule { first_nanos: 1 + random::word() % period_nanos, period_nanos };
    let cpu_now = clock::thread_cpu_nanos(block.tid()).unwrap_or(0);
    block.cpu_base.store(cpu_now, Ordering::Relaxed);
    match timer::start(block.tid(), signal::cookie(index.to_u32()), schedule) {
        Ok(timer) => block.set_timer(Some(timer)),
        Err(error) => {
            block.set_timer(None);
            // A thread that has just ended is no failure.
            if error.kind() != io::ErrorKind::InvalidInput {
                REFUSED.store(error.raw_os_error().unwrap_or(0), Ordering::Relaxed);
            }
        }
    }
    // A stop that came in between has not seen the new timer.
    if !RUNNING.load(Ordering::SeqCst) {
        disarm(block);
    }
}

/// Takes a thread's timer away.
pub(crate) fn disarm(block: &'static Block) {
    if let Some(timer) = block.take_timer() {
        timer::delete(timer);
    }
}

/// The receiver of timer signals, in the handler of the thread that the timer belongs to. Nothing here allocates, locks,
/// makes a system call or touches thread-local storage: a load, a bounds check, then [`capture`].
fn on_tick(tick: &Tick) {
    if !RUNNING.load(Ordering::Relaxed) {
        return;
    }
    let Some(block) = BlockIndex::from_u32(tick.payload).and_then(BlockIndex::get) else { return };
    if block.stack().is_empty() {
        // A thread found by the scan: it finds its own stack at its first sample, in its own control block.
        if let Some(stack) = Probe::from_u32(PROBE.load(Ordering::Acquire)).and_then(Probe::read) {
            block.set_stack(stack);
        }
    }
    capture(block, Kind::Cpu, tick.weight, tick.registers);
}
