//! Sampling CPU time: a timer on the CPU clock of every thread, or an [event](super::events), as the [engine](super::engine)
//! has it.
//!
//! A timer's first expiry is at a random point of its first period, so that threads that start together are not sampled
//! together, and so that the expected number of samples is exactly CPU time ÷ period. Periods that came due between two
//! looks of the kernel arrive as one signal with an overrun count, which becomes the sample's weight.

use super::capture::{Kind, capture};
use super::engine::{Engine, InUse, Means};
use super::run::{InHandler, Run};
use super::{events, shared};
use crate::random;
use crate::sys::clock;
use crate::sys::process;
use crate::sys::signal::{self, Source, Tick};
use crate::sys::stack::Probe;
use crate::sys::timer::{self, Schedule};
use crate::thread::{self, Block, BlockIndex, OnThread, Ticker, blocks};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU32, AtomicU64, Ordering};

static PERIOD: AtomicU64 = AtomicU64::new(0);
/// Timers that were made in the present run.
static TIMERS: AtomicU64 = AtomicU64::new(0);
/// How to find the stack of a thread that did not register itself; 0 until calibrated.
static PROBE: AtomicU32 = AtomicU32::new(0);
/// The last error number of a refused timer, 0 if none was refused.
static REFUSED: AtomicI32 = AtomicI32::new(0);

/// The [`Means`] of the present run: 0 timers, 1 events for user space, 2 events for the kernel too.
static MEANS: AtomicU8 = AtomicU8::new(0);
/// The process that last started, as its [fork count](process::forks) plus one.
static OWNER: AtomicU32 = AtomicU32::new(0);

/// Whether signals go to a later handler that does not pass them on.
static IS_COVERED: AtomicBool = AtomicBool::new(false);
/// What to say then.
pub(crate) const COVERED: &str = "SIGPROF goes to a handler that was installed after the profiler's and does not pass \
     on what is not its own: nothing is sampled";

/// What has started: the run, and the process's CPU clock at its start.
#[derive(Clone, Debug)]
pub(crate) struct Started {
    pub(crate) run: Run,
    pub(crate) cpu_nanos: u64,
    pub(crate) engine: InUse,
}

/// Starts sampling: every `period_nanos` of its CPU time, each thread that has or gets a block.
///
/// # Errors
/// When the signal handler cannot be installed, or when this process is too many forks deep.
pub(crate) fn start(period_nanos: u64, wanted: Engine) -> io::Result<Started> {
    thread::set_hook(OnThread { begins: arm, ends: end, forked: events::abandon_all });
    if !thread::is_ready() {
        return Err(io::Error::other("the process is too many forks deep"));
    }
    signal::install(on_tick)?;
    if OWNER.swap(process::forks() + 1, Ordering::Relaxed) != process::forks() + 1 {
        shared::forget();
    }
    let engine = InUse::choose(wanted);
    events::prepare();
    set_means(engine.means);
    REFUSED.store(0, Ordering::Relaxed);
    TIMERS.store(0, Ordering::Relaxed);
    IS_COVERED.store(false, Ordering::Relaxed);
    PERIOD.store(period_nanos.max(1), Ordering::Relaxed);
    blocks().for_each(|(_, block)| block.forget_clocks());
    let cpu_nanos = clock::process_cpu_nanos();
    let run = Run::begin();
    thread::set_sampled(true);
    shared::reserve(signal::cookie(u32::from(run.to_u16()) << 16 | shared::INDEX));
    blocks().for_each(|(index, block)| arm(index, block));
    Ok(Started { run, cpu_nanos, engine })
}

/// Stops sampling. No sample is taken any more when this returns, but on a thread that does not get to run for a long time.
/// A handler of SIGPROF that was there before gets its place back, if nobody has come in between; if there was none, ours
/// stays and passes on what is not ours.
pub(crate) fn stop() {
    Run::end();
    thread::set_sampled(false);
    blocks().for_each(|(_, block)| disarm(block));
    shared::release();
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

/// Whether threads that were refused a timer are sampled by one that they share.
pub(crate) fn is_sharing() -> bool {
    shared::is_armed()
}

/// No longer samples a thread by the shared timer: it is gone.
pub(crate) fn unshare(index: BlockIndex, block: &Block) {
    shared::remove(block.tid(), index);
}

/// Puts the shared timer to rest if nobody needs it.
pub(crate) fn rest_if_unused() {
    shared::rest_if_unused();
}

fn means() -> Means {
    match MEANS.load(Ordering::Relaxed) {
        0 => Means::Timers,
        other => Means::Events { with_kernel: other == 2 },
    }
}

fn set_means(means: Means) {
    let number = match means {
        Means::Timers => 0,
        Means::Events { with_kernel } => 1 + u8::from(with_kernel),
    };
    MEANS.store(number, Ordering::Relaxed);
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
        // A stop or the thread's end that came in between has not seen the new timer. If a start came too, it has seen the
        // claim and left the thread to us: each turn of this loop is another run.
        disarm(block);
    }
}

fn make_timer(index: BlockIndex, block: &Block, run: Run) -> Option<Ticker> {
    let period_nanos = PERIOD.load(Ordering::Relaxed);
    let cpu_now = clock::thread_cpu_nanos(block.tid());
    if let Some(cpu_now) = cpu_now {
        block.set_cpu_base(cpu_now);
    }
    let payload = payload(run, index);
    if let (Means::Events { with_kernel }, Some(cpu_now)) = (means(), cpu_now)
        && let Ok(event) = events::start(block, payload, cpu_now, period_nanos, with_kernel)
    {
        TIMERS.fetch_add(1, Ordering::Relaxed);
        return Some(event);
    }
    // Also for a thread that was refused an event: there are only so many.
    let schedule = Schedule { first_nanos: 1 + random::word() % period_nanos, period_nanos };
    match timer::start(block.tid(), signal::cookie(payload), schedule) {
        Ok(timer) => {
            TIMERS.fetch_add(1, Ordering::Relaxed);
            shared::remove(block.tid(), index);
            Some(Ticker::Timer(timer))
        }
        Err(error) => {
            // A thread that has just ended is no failure.
            if clock::thread_cpu_nanos(block.tid()).is_some() {
                REFUSED.store(error.raw_os_error().unwrap_or(0), Ordering::Relaxed);
                shared::add(block.tid(), index, schedule);
            }
            None
        }
    }
}

/// Takes a thread's timer away.
pub(crate) fn disarm(block: &'static Block) {
    match block.take_timer() {
        Some(Ticker::Timer(timer)) => timer::delete(timer),
        Some(Ticker::Event(fd)) => events::stop(fd),
        None => {}
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

/// The receiver of signals, in the handler of the thread that was to be interrupted. Nothing here allocates, locks or touches
/// thread-local storage: loads, bounds checks, then [`capture`]. It makes no system call for a timer; for an event two, and
/// for the shared timer one, see [`events::due`] and [`shared::own_block`].
fn on_tick(tick: &Tick) -> bool {
    let payload = match tick.source {
        Source::Timer { payload, .. } => payload,
        Source::Event { fd } => match events::payload(fd) {
            Some(payload) => payload,
            None => return false,
        },
    };
    if let Some(handler) = InHandler::enter() {
        sample(&handler, tick, payload);
    }
    true
}

fn sample(handler: &InHandler, tick: &Tick, payload: u32) {
    if payload >> 16 != u32::from(handler.run().to_u16()) {
        return; // of a timer of an earlier run
    }
    let is_shared = payload & 0xffff == shared::INDEX;
    let named = || BlockIndex::from_u32(payload & 0xffff).and_then(BlockIndex::get);
    let Some(block) = (if is_shared { shared::own_block() } else { named() }) else { return };
    let (kind, weight) = match tick.source {
        Source::Timer { .. } if is_shared => (Kind::SharedCpu, 1),
        Source::Timer { weight, .. } => (Kind::Cpu, weight),
        Source::Event { fd } => {
            let with_kernel = means() != Means::Events { with_kernel: false };
            (Kind::Cpu, events::due(block, fd, PERIOD.load(Ordering::Relaxed), with_kernel))
        }
    };
    if weight == 0 {
        return; // an event that came early: its period has a sample
    }
    if block.was_found() && !block.stack().contains(&tick.registers.sp) {
        // A thread found by the scan: it finds its own stack at its first sample, in its own control block.
        if let Some(stack) = Probe::from_u32(PROBE.load(Ordering::Acquire)).and_then(Probe::read) {
            block.set_stack(stack);
        }
    }
    capture(handler, block, kind, weight, tick.registers);
}
