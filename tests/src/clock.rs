//! CPU clocks, and a loop that uses a known amount of CPU.
//!
//! The clocks are the kernel's own; nothing of the profiler is involved, so they can be held against what it reports.

use crate::error::Context as _;
use crate::{Result, os};
use std::hint::black_box;
use std::time::{Duration, SystemTime};

/// CPU time that the calling thread has used so far.
///
/// # Errors
///
/// The system call's error.
pub fn thread_cpu() -> Result<Duration> {
    Ok(os::thread_cpu()?)
}

/// CPU time that the process has used so far, its finished threads included.
///
/// # Errors
///
/// The system call's error.
pub fn process_cpu() -> Result<Duration> {
    Ok(os::process_cpu()?)
}

/// A wall-clock time as OTLP writes it.
///
/// # Errors
///
/// A time before 1970 or after 2554.
pub fn unix_nanos(time: SystemTime) -> Result<u64> {
    let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).context("a time before 1970")?;
    u64::try_from(since_epoch.as_nanos()).context("a time after 2554")
}

/// Keeps the calling thread computing until it has used `cpu` more CPU time; returns how much it used.
///
/// The clock is read once in about 20 µs of work, so that nearly all samples fall into this function.
///
/// # Errors
///
/// The system call's error.
#[inline(never)]
pub fn burn(cpu: Duration) -> Result<Duration> {
    let start = os::thread_cpu()?;
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    loop {
        for _ in 0..10_000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
        }
        black_box(state);
        let used = os::thread_cpu()?.saturating_sub(start);
        if used >= cpu {
            return Ok(used);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burning_shows_up_on_the_thread_and_the_process_clock() {
        let wanted = Duration::from_millis(20);
        let before = (thread_cpu().unwrap(), process_cpu().unwrap());
        let used = burn(wanted).unwrap();
        let thread = thread_cpu().unwrap() - before.0;
        assert!(used >= wanted && thread >= used, "{used:?} of {thread:?}");
        assert!(process_cpu().unwrap() - before.1 >= used);
    }

    #[test]
    fn another_thread_is_on_the_process_clock_only() {
        let before = (thread_cpu().unwrap(), process_cpu().unwrap());
        let used = std::thread::spawn(|| burn(Duration::from_millis(30)).unwrap()).join().unwrap();
        assert!(process_cpu().unwrap() - before.1 >= used);
        assert!(thread_cpu().unwrap() - before.0 < used);
    }
}
