//! Clocks: wall, monotonic, and the CPU clocks of the process and of single threads.

use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since the Unix epoch; 0 for a clock set before it.
pub(crate) fn unix_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The CPU clock of the whole process.
pub(super) const PROCESS_CLOCK: libc::clockid_t = libc::CLOCK_PROCESS_CPUTIME_ID;

/// CPU time of the calling thread in nanoseconds. Safe in a signal handler: one system call, which takes no lock of this
/// process.
pub(crate) fn own_cpu_nanos() -> u64 {
    read(libc::CLOCK_THREAD_CPUTIME_ID).unwrap_or(0)
}

/// The monotonic clock in nanoseconds; if it need not be exact, as of the kernel's latest tick, which costs a third.
pub(crate) fn monotonic_nanos(is_exact: bool) -> u64 {
    read(if is_exact { libc::CLOCK_MONOTONIC } else { libc::CLOCK_MONOTONIC_COARSE }).unwrap_or(0)
}

/// CPU time of the whole process in nanoseconds, threads that have ended included.
pub(crate) fn process_cpu_nanos() -> u64 {
    read(PROCESS_CLOCK).unwrap_or(0)
}

/// CPU time of the thread `tid` of this process in nanoseconds; `None` when it is gone.
pub(crate) fn thread_cpu_nanos(tid: i32) -> Option<u64> {
    read(thread_clock(tid))
}

/// The CPU clock of a thread: the kernel's `CPUCLOCK_PERTHREAD | CPUCLOCK_SCHED` of its id. Source: Linux
/// `include/linux/posix-timers.h`, `MAKE_THREAD_CPUCLOCK`.
pub(crate) const fn thread_clock(tid: i32) -> libc::clockid_t {
    (!tid) << 3 | 6
}

fn read(clock: libc::clockid_t) -> Option<u64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec to write to; any clock id is allowed, a bad one is an error.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    let (seconds, nanos) = (u64::try_from(time.tv_sec).ok()?, u64::try_from(time.tv_nsec).ok()?);
    (result == 0).then(|| seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}
