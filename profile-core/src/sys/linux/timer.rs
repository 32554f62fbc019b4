//! One POSIX timer per thread, on that thread's CPU clock, signalling that thread.
//!
//! The kernel looks at CPU timers on its tick, so at most `CONFIG_HZ` signals a second arrive; what came due in
//! between is in the signal's overrun count. Raw system calls, because a timer here is an `int` that a signal handler and
//! the collector can share, whatever the C library wraps it in.

use super::clock::{PROCESS_CLOCK, thread_clock};
use std::io;

/// `SIGEV_THREAD_ID` of `<asm-generic/siginfo.h>`: signal one thread of this process.
const SIGEV_THREAD_ID: libc::c_int = 4;

/// When a timer fires: first after `first`, then every `period` nanoseconds of the thread's CPU time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    pub(crate) first_nanos: u64,
    pub(crate) period_nanos: u64,
}

/// Starts a timer on the CPU time of thread `tid` whose signals carry `cookie`. Returns the kernel's timer id.
///
/// # Errors
/// `EAGAIN` at the user's `RLIMIT_SIGPENDING`; `EINVAL` when the thread is gone.
pub(crate) fn start(tid: i32, cookie: u64, schedule: Schedule) -> io::Result<i32> {
    // SAFETY: an all-zero sigevent is a valid value of that plain C struct.
    let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = libc::SIGPROF;
    event.sigev_notify_thread_id = tid;
    event.sigev_value = libc::sigval { sival_ptr: cookie as *mut libc::c_void };
    let id = create(thread_clock(tid), event)?;
    set(id, schedule).inspect_err(|_| delete(id))?;
    Ok(id)
}

/// Makes a timer on the CPU time of the whole process whose signals carry `cookie`, and leaves it at rest. The kernel gives
/// each signal to the thread that was running when the timer expired (before Linux 6.4: to the main thread, if it takes
/// it). Returns the kernel's timer id.
///
/// # Errors
/// `EAGAIN` at the user's `RLIMIT_SIGPENDING`.
pub(crate) fn reserve(cookie: u64) -> io::Result<i32> {
    // SAFETY: as in `start`.
    let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
    event.sigev_notify = libc::SIGEV_SIGNAL;
    event.sigev_signo = libc::SIGPROF;
    event.sigev_value = libc::sigval { sival_ptr: cookie as *mut libc::c_void };
    create(PROCESS_CLOCK, event)
}

fn create(clock: libc::clockid_t, mut event: libc::sigevent) -> io::Result<i32> {
    let mut id: libc::c_int = 0;
    // SAFETY: both pointers are to live locals of the types that timer_create takes; the kernel keeps neither.
    let created = unsafe { libc::syscall(libc::SYS_timer_create, clock, &raw mut event, &raw mut id) };
    if created == 0 { Ok(id) } else { Err(io::Error::last_os_error()) }
}

/// Starts a timer anew.
pub(crate) fn set(id: i32, schedule: Schedule) -> io::Result<()> {
    let spec = libc::itimerspec {
        it_interval: timespec(schedule.period_nanos),
        it_value: timespec(schedule.first_nanos.max(1)),
    };
    settime(id, &spec)
}

/// Puts a timer to rest.
pub(crate) fn rest(id: i32) {
    // A failure names no timer of this process: then there is nothing to put to rest.
    let _ = settime(id, &libc::itimerspec { it_interval: timespec(0), it_value: timespec(0) });
}

fn settime(id: i32, spec: &libc::itimerspec) -> io::Result<()> {
    let no_old: *mut libc::itimerspec = std::ptr::null_mut();
    // SAFETY: a number that names a timer or none, `spec` is live, and the old value is not asked for.
    let result = unsafe { libc::syscall(libc::SYS_timer_settime, id, 0, std::ptr::from_ref(spec), no_old) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Deletes a timer. A signal already on its way may still arrive.
pub(crate) fn delete(id: i32) {
    // SAFETY: takes a number; one that names no timer of this process is an error without effect.
    unsafe { libc::syscall(libc::SYS_timer_delete, id) };
}

/// Whether a timer will expire again. One whose thread has ended will not.
pub(crate) fn is_armed(id: i32) -> bool {
    let mut spec = libc::itimerspec { it_interval: timespec(0), it_value: timespec(0) };
    // SAFETY: a number and a live local to write to.
    let result = unsafe { libc::syscall(libc::SYS_timer_gettime, id, &raw mut spec) };
    result == 0 && (spec.it_value.tv_sec != 0 || spec.it_value.tv_nsec != 0)
}

fn timespec(nanos: u64) -> libc::timespec {
    libc::timespec {
        tv_sec: (nanos / 1_000_000_000) as libc::time_t,
        tv_nsec: (nanos % 1_000_000_000) as libc::c_long,
    }
}
