//! The harness's door to the operating system: CPU clocks, and SIGTERM to our own children.

use std::io;
use std::process::Child;
use std::time::Duration;

/// CPU time that the calling thread has used.
pub(crate) fn thread_cpu() -> io::Result<Duration> {
    read_clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// CPU time that all threads of the process, the dead ones too, have used.
pub(crate) fn process_cpu() -> io::Result<Duration> {
    read_clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// Asks a child to end.
pub(crate) fn terminate(child: &Child) -> io::Result<()> {
    let pid = libc::pid_t::try_from(child.id()).map_err(io::Error::other)?;
    // SAFETY: `kill` reads no memory of ours. The number is our child's: a child that has not been waited for keeps
    // its number even when it is dead, and `Child` is waited for only through `&mut`, which this borrow excludes.
    check(unsafe { libc::kill(pid, libc::SIGTERM) })
}

fn read_clock(clock: libc::clockid_t) -> io::Result<Duration> {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a live, exclusively borrowed timespec, which is all that clock_gettime writes to.
    check(unsafe { libc::clock_gettime(clock, &raw mut now) })?;
    let seconds = u64::try_from(now.tv_sec).map_err(io::Error::other)?;
    let nanos = u32::try_from(now.tv_nsec).map_err(io::Error::other)?;
    Ok(Duration::new(seconds, nanos))
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
