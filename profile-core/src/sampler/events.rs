//! The perf engine: a CPU clock event for every thread, at a random point of each of its periods.
//!
//! An event that comes after equal stretches of CPU time falls into step with work that repeats. So a thread's CPU time is
//! cut into periods, counted from when it was first seen, and in each one point is drawn at random. The handler asks the
//! thread's CPU clock in which period it is, takes the sample for all periods since the last one, draws a point of the
//! next period, and lets the event come then. However late a signal is, points do not drift, and the number of periods
//! that are covered is never off by more than one.
//!
//! Where the kernel's time may not be seen, a period whose point lies in it has no sample, and the next sample does not
//! stand for it: it is missing, and exported as such.

use crate::random::mix;
use crate::sys::{clock, perf, process};
use crate::thread::{Block, Ticker};
use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The highest number, less one, of a file that an event may have.
const MAX_FILES: usize = 1 << 14;
/// By file: what a timer's cookie would say, or 0. A signal names a file, and this the thread.
static PAYLOADS: [AtomicU32; MAX_FILES] = [const { AtomicU32::new(0) }; MAX_FILES];
/// Events that exist, and how many there may be: the files are the program's too.
static IN_USE: AtomicU32 = AtomicU32::new(0);
static LIMIT: AtomicU32 = AtomicU32::new(0);
/// The part of the files that a process may have open which events may take.
const SHARE: u64 = 4;
/// The shortest stretch that the kernel waits for, in nanoseconds.
const SHORTEST: u64 = 10_000;

/// Reads anew how many events there may be.
pub(super) fn prepare() {
    let limit = u32::try_from(perf::file_limit() / SHARE).unwrap_or(u32::MAX);
    LIMIT.store(limit.min(MAX_FILES as u32), Ordering::Relaxed);
}

/// In a forked child: closes the files of its parent's events, and leaves the events alone. No step allocates or locks.
pub(super) fn abandon_all() {
    if IN_USE.swap(0, Ordering::Relaxed) == 0 {
        return;
    }
    for (payload, fd) in PAYLOADS.iter().zip(0..) {
        if payload.swap(0, Ordering::Relaxed) != 0 {
            perf::abandon(fd);
        }
    }
}

/// Gives a thread an event, whose signals mean `payload`. The thread's CPU clock has been read, and stood at `now`.
///
/// # Errors
/// The system's; and `EMFILE` when there are as many events as there may be.
pub(super) fn start(
    block: &Block,
    payload: u32,
    now: u64,
    period: u64,
    with_kernel: bool,
) -> io::Result<Ticker> {
    let too_many = || io::Error::from_raw_os_error(libc::EMFILE);
    if IN_USE.fetch_add(1, Ordering::Relaxed) >= LIMIT.load(Ordering::Relaxed) {
        IN_USE.fetch_sub(1, Ordering::Relaxed);
        return Err(too_many());
    }
    let base = block.cpu_base().unwrap_or(now);
    let periods = now.saturating_sub(base) / period;
    block.swap_periods(periods);
    let first = point(base, periods, period).saturating_sub(now).max(SHORTEST);
    let slot = |fd: i32| usize::try_from(fd).ok().and_then(|fd| PAYLOADS.get(fd));
    // A child that is forked meanwhile would not know of the file.
    let opened = process::without_forks(|| {
        let fd = perf::open(block.tid(), first, with_kernel)?;
        let slot = slot(fd);
        if let Some(slot) = slot {
            slot.store(payload, Ordering::Release);
        }
        io::Result::Ok((fd, slot.is_some()))
    });
    match opened {
        Ok((fd, true)) => {
            perf::enable(fd);
            Ok(Ticker::Event(fd))
        }
        Ok((fd, false)) => {
            perf::close(fd);
            IN_USE.fetch_sub(1, Ordering::Relaxed);
            Err(too_many())
        }
        Err(error) => {
            IN_USE.fetch_sub(1, Ordering::Relaxed);
            Err(error)
        }
    }
}

/// Ends an event.
pub(super) fn stop(fd: i32) {
    // First forgotten, then closed: the file's number may be another's at once.
    process::without_forks(|| {
        if let Some(payload) = usize::try_from(fd).ok().and_then(|fd| PAYLOADS.get(fd)) {
            payload.store(0, Ordering::Release);
        }
        perf::close(fd);
    });
    // A child that is forked here has nothing to close; the count is at most too high.
    IN_USE.fetch_sub(1, Ordering::Relaxed);
}

/// What the signals of file `fd` mean; `None` if it is no event of ours. Safe in a signal handler: a load.
#[inline]
pub(super) fn payload(fd: i32) -> Option<u32> {
    let payload = usize::try_from(fd).ok().and_then(|fd| PAYLOADS.get(fd))?.load(Ordering::Acquire);
    (payload != 0).then_some(payload)
}

/// On the thread, in its handler: how many periods the sample stands for, 0 if all are covered. Sets when the next is due.
/// No step allocates, locks or panics; the two system calls, reading the thread's own clock and setting the event's period,
/// cannot wait.
pub(super) fn due(block: &Block, fd: i32, period: u64, with_kernel: bool) -> u64 {
    let now = clock::own_cpu_nanos();
    let Some(base) = block.cpu_base() else { return 0 };
    let periods = now.saturating_sub(base).checked_div(period).unwrap_or(0).saturating_add(1);
    let covered = block.swap_periods(periods);
    let next = point(base, periods, period).saturating_sub(now).max(SHORTEST);
    perf::set_next(fd, next);
    match periods.saturating_sub(covered) {
        0 => 0,
        weight if with_kernel => weight,
        _ => 1,
    }
}

/// A random point of a period, as the thread's CPU clock counts. Also in the handler: it cannot panic.
#[inline]
fn point(base: u64, number: u64, period: u64) -> u64 {
    static STATE: AtomicU64 = AtomicU64::new(0);
    let state = STATE.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
    let offset = mix(state ^ base).checked_rem(period).unwrap_or(0);
    base.wrapping_add(number.wrapping_mul(period)).wrapping_add(offset)
}
