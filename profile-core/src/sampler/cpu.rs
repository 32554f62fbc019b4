//! The CPU engine: a timer on the CPU clock of every thread.
//!
//! A timer's first expiry is at a random point of its first period, so that threads that start together are not sampled
//! together, and so that the expected number of samples is exactly CPU time ÷ period. Periods that came due between two
//! looks of the kernel arrive as one signal with an overrun count, which becomes the sample's weight.

use super::capture::{Kind, capture};
use super::run::{InHandler, Run};
use crate::random;
use crate::sys::clock;
use crate::sys::signal::{self, Tick};
use crate::sys::stack::Probe;
use crate::sys::timer::{self, Schedule};
use crate::thread::{self, Block, BlockIndex, OnThread, blocks};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};

static PERIOD: AtomicU64 = AtomicU64::new(0);
/// Timers that were made in the present run.
static TIMERS: AtomicU64 = AtomicU64::new(0);
/// How to find the stack of a thread that did not register itself; 0 until calibrated.
static PROBE: AtomicU32 = AtomicU32::new(0);
/// The last error number of a refused timer, 0 if none was refused.
static REFUSED: AtomicI32 = AtomicI32::new(0);

/// Whether signals go to a later handler that does not pass them on.
static IS_COVERED: AtomicBool = AtomicBool::new(false);
/// What to say then.
pub(crate) const COVERED: &str = "SIGPROF goes to a handler that was installed after the profiler's and does not pass \
     on what is not its own: nothing is sampled";

/// What has started: the run, and the process's CPU clock at its start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Started {
    pub(crate) run: Run,
    pub(crate) cpu_nanos: u64,
}

/// Starts sampling: every `period_nanos` of its CPU time, each thread that has or gets a block.
///
/// # Errors
/// When the signal handler cannot be installed, or when this process is too many forks deep.
pub(crate) fn start(period_nanos: u64) -> io::Result<Started> {
    thread::set_hook(OnThread { begins: arm, ends: end });
    if !thread::is_ready() {
        return Err(io::Error::other("the process is too many forks deep"));
    }
    signal::install(on_tick)?;
    REFUSED.store(0, Ordering::Relaxed);
    TIMERS.store(0, Ordering::Relaxed);
    IS_COVERED.store(false, Ordering::Relaxed);
    PERIOD.store(period_nanos.max(1), Ordering::Relaxed);
    blocks().for_each(|(_, block)| block.forget_clocks());
    let cpu_nanos = clock::process_cpu_nanos();
    let run = Run::begin();
    thread::set_sampled(true);
    blocks().for_each(|(index, block)| arm(index, block));
    Ok(Started { run, cpu_nanos })
}

/// Stops sampling. No sample is taken any more when this returns, but on a thread that does not get to run for a long time.
/// A handler of SIGPROF that was there before gets its place back, if nobody has come in between; if there was none, ours
/// stays and passes on what is not ours.
pub(crate) fn stop() {
    Run::end();
    thread::set_sampled(false);
    blocks().for_each(|(_, block)| disarm(block));
    Run::wait_for_handlers();
    // A failure leaves our handler where it is, which is as good.
    let _ = signal::give_back();
}

/// How many timers there have been in the present run.
pub(crate) fn timers_made() -> u64 {
    TIMERS.load(Ordering::Relaxed)
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

/// Takes back our place as the handler of SIGPROF if the action was reset. Says who gets the signal.
pub(crate) fn keep_handler() -> signal::Place {
    if signal::place() == signal::Place::Reset {
        // A failure is seen at the next look.
        let _ = signal::install(on_tick);
    }
    signal::place()
}

/// Notes whether signals go to a later handler that does not pass them on.
pub(crate) fn set_covered(covered: bool) {
    IS_COVERED.store(covered, Ordering::Relaxed);
}

/// Whether they do.
pub(crate) fn is_covered() -> bool {
    IS_COVERED.load(Ordering::Relaxed)
}

/// Gives a living thread a timer, unless it has one or nothing is being sampled.
pub(crate) fn arm(index: BlockIndex, block: &'static Block) {
    while let Some(run) = Run::current() {
        if block.life() != thread::Life::Live || !block.claim_timer() {
            return;
        }
        block.set_timer(make_timer(index, block, run));
        if Run::current() == Some(run) && block.life() == thread::Life::Live {
            return;
        }
        // A stop or the thread's end that came in between has not seen the new timer. If a start came too, it has seen the claim and left the
        // thread to us: each turn of this loop is another run.
        disarm(block);
    }
}

fn make_timer(index: BlockIndex, block: &Block, run: Run) -> Option<i32> {
    let period_nanos = PERIOD.load(Ordering::Relaxed);
    let schedule = Schedule { first_nanos: 1 + random::word() % period_nanos, period_nanos };
    if let Some(cpu_now) = clock::thread_cpu_nanos(block.tid()) {
        block.set_cpu_base(cpu_now);
    }
    match timer::start(block.tid(), signal::cookie(payload(run, index)), schedule) {
        Ok(timer) => {
            TIMERS.fetch_add(1, Ordering::Relaxed);
            Some(timer)
        }
        Err(error) => {
            // A thread that has just ended is no failure.
            if clock::thread_cpu_nanos(block.tid()).is_some() {
                REFUSED.store(error.raw_os_error().unwrap_or(0), Ordering::Relaxed);
            }
            None
        }
    }
}

/// Takes a thread's timer away.
pub(crate) fn disarm(block: &'static Block) {
    if let Some(timer) = block.take_timer() {
        timer::delete(timer);
    }
}

/// On a thread that ends: its clock can be read for the last time.
fn end(block: &'static Block) -> bool {
    disarm(block);
    let is_sampled = Run::current().is_some();
    if is_sampled && let Some(cpu_now) = clock::thread_cpu_nanos(block.tid()) {
        block.set_cpu_end(cpu_now);
    }
    is_sampled
}

/// What a timer's cookie says: the run above the block's number, which is less than 2^16.
fn payload(run: Run, index: BlockIndex) -> u32 {
    u32::from(run.to_u16()) << 16 | index.to_u32()
}

/// The receiver of timer signals, in the handler of the thread that the timer belongs to. Nothing here allocates, locks,
/// makes a system call or touches thread-local storage: loads, a bounds check, then [`capture`].
fn on_tick(tick: &Tick) {
    let Some(handler) = InHandler::enter() else { return };
    if tick.payload >> 16 != u32::from(handler.run().to_u16()) {
        return; // of a timer of an earlier run
    }
    let Some(block) = BlockIndex::from_u32(tick.payload & 0xffff).and_then(BlockIndex::get) else { return };
    if block.was_found() && !block.stack().contains(&tick.registers.sp) {
        // A thread found by the scan: it finds its own stack at its first sample, in its own control block.
        if let Some(stack) = Probe::from_u32(PROBE.load(Ordering::Acquire)).and_then(Probe::read) {
            block.set_stack(stack);
        }
    }
    capture(&handler, block, Kind::Cpu, tick.weight, tick.registers);
}
