//! The process as a whole.

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

/// The id of the process. After a fork the child has another.
pub(crate) fn id() -> i32 {
    // SAFETY: no arguments, always succeeds.
    unsafe { libc::getpid() }
}

/// Fills `bytes` from the kernel's random source. `false` (and `bytes` as they were) if it cannot at once.
pub(crate) fn random(bytes: &mut [u8]) -> bool {
    // SAFETY: the kernel writes at most `len` bytes to the buffer it is given.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), libc::GRND_NONBLOCK) };
    usize::try_from(got).is_ok_and(|got| got == bytes.len())
}

static FORKS: AtomicU32 = AtomicU32::new(0);

/// How many forks lie between the process that first [watched](watch_forks) and this one: a forked child counts one more than
/// its parent. One load, so that it can be asked for often.
#[inline]
pub(crate) fn forks() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// Starts counting forks. Calls after the first do nothing.
pub(crate) fn watch_forks() {
    static ONCE: Once = Once::new();
    extern "C" fn in_child() {
        // One atomic add: allowed between fork and exec, whatever other threads held at the fork.
        FORKS.fetch_add(1, Ordering::Relaxed);
    }
    ONCE.call_once(|| {
        // SAFETY: the handler obeys the rules for code that runs in a forked child, and lives as long as the program. A
        // failure (out of memory) leaves forks uncounted.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
}
