//! The threads of this process, as the kernel lists them.

use crate::own;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::thread::{Builder, JoinHandle};

/// The kernel's id of the calling thread.
pub(crate) fn current() -> i32 {
    // SAFETY: no arguments, always succeeds.
    unsafe { libc::gettid() }
}

/// The ids of all threads of the process.
pub(crate) fn list() -> io::Result<Vec<i32>> {
    let entries = fs::read_dir("/proc/self/task")?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

/// When the thread started, in clock ticks since boot: with the id it names one thread for good, since ids are reused.
/// Source: `proc_pid_stat(5)`, field 22.
pub(crate) fn start_time(tid: i32) -> Option<u64> {
    start_time_in(&fs::read(format!("/proc/self/task/{tid}/stat")).ok()?)
}

/// The start time in the text of a `stat` file.
pub(crate) fn start_time_in(stat: &[u8]) -> Option<u64> {
    // The second field, the name, is in parentheses and may hold anything, so count from the last one.
    let after_name = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let rest = std::str::from_utf8(stat.get(after_name..)?).ok()?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Whether the thread blocks SIGPROF; `None` when it is gone. Source: `proc_pid_status(5)`, `SigBlk`.
pub(crate) fn blocks_sigprof(tid: i32) -> Option<bool> {
    blocks_sigprof_in(&fs::read(format!("/proc/self/task/{tid}/status")).ok()?)
}

/// Whether SIGPROF is blocked, of the text of a `status` file. The thread's name in it need not be text.
pub(crate) fn blocks_sigprof_in(status: &[u8]) -> Option<bool> {
    let mask = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"SigBlk:"))?;
    let mask = u64::from_str_radix(std::str::from_utf8(mask).ok()?.trim(), 16).ok()?;
    Some(mask >> (libc::SIGPROF - 1) & 1 != 0)
}

/// Starts a thread of the profiler's own. It takes no signals of the program's: one that handles SIGTERM by blocking it on
/// all its threads and waiting for it would otherwise be ended by it on ours. Only SIGPROF, by which it is sampled like
/// any other, and the signals that a fault of its own would raise stay open.
///
/// # Errors
/// The system's, when there can be no more threads.
pub(crate) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    // A thread starts with the mask of the one that starts it, so that there is no moment at which it could take one.
    let before = swap_mask(Some(&own_mask()));
    let spawned = Builder::new().name(name.to_owned()).spawn(|| own::run(work));
    if let Some(before) = before {
        swap_mask(Some(&before));
    }
    spawned
}

fn own_mask() -> libc::sigset_t {
    let mut mask = MaybeUninit::<libc::sigset_t>::zeroed();
    let open = [
        libc::SIGPROF,
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGFPE,
        libc::SIGILL,
        libc::SIGTRAP,
        libc::SIGABRT,
    ];
    // SAFETY: sigfillset initialises the set before it is changed and read; all numbers are those of signals.
    unsafe {
        libc::sigfillset(mask.as_mut_ptr());
        for signal in open {
            libc::sigdelset(mask.as_mut_ptr(), signal);
        }
        mask.assume_init()
    }
}

/// Replaces the calling thread's signal mask; the old one, or `None` if that failed, which it cannot with a valid set.
fn swap_mask(new: Option<&libc::sigset_t>) -> Option<libc::sigset_t> {
    let mut old = MaybeUninit::<libc::sigset_t>::zeroed();
    let new = new.map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `new` is null or an initialised set, `old` is storage for the result.
    let result = unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, new, old.as_mut_ptr()) };
    // SAFETY: the call succeeded, so `old` is filled; all zero would be valid too.
    (result == 0).then(|| unsafe { old.assume_init() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_text_hide_nothing() {
        let stat = |name: &[u8]| {
            [b"7 (", name, b") S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20\n"].concat()
        };
        for name in [&b"a) S 1"[..], b"\xff\xfe", b""] {
            assert_eq!(start_time_in(&stat(name)), Some(4711));
        }
        assert_eq!(start_time_in(b"7 (a) S 1"), None);
        let status =
            |mask: &[u8]| [b"Name:\t\xff\nSigBlk:\t", mask, b"\nSigIgn:\t0000000004000000\n"].concat();
        assert_eq!(blocks_sigprof_in(&status(b"0000000004000000")), Some(true));
        assert_eq!(blocks_sigprof_in(&status(b"0000000000000000")), Some(false));
        assert_eq!(blocks_sigprof_in(&status(b"none")), None);
    }

    #[test]
    fn our_threads_take_sigprof_and_no_signal_of_the_programs() {
        let thread = spawn("test", || {
            assert_eq!(blocks_sigprof(current()), Some(false));
            let mask = swap_mask(None).unwrap();
            // SAFETY: an initialised set.
            let blocked = |signal| unsafe { libc::sigismember(&raw const mask, signal) } == 1;
            assert!(blocked(libc::SIGTERM) && blocked(libc::SIGCHLD) && !blocked(libc::SIGSEGV));
        });
        thread.unwrap().join().unwrap();
        let mask = swap_mask(None).unwrap();
        // SAFETY: an initialised set.
        assert_eq!(unsafe { libc::sigismember(&raw const mask, libc::SIGTERM) }, 0, "ours is as it was");
    }
}
