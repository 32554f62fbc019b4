//! The process as a whole.

use std::sync::Once;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::time::Duration;

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

/// How many forks deep a process may be and still be profiled: what must not be inherited is kept once for each depth.
pub(crate) const MAX_FORKS: usize = 64;

/// How many forks lie between the process that first [watched](watch_forks) and this one: a forked child counts one more than
/// its parent. One load, so that it can be asked for often.
#[inline]
pub(crate) fn forks() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// Starts counting forks. Calls after the first do nothing.
pub(crate) fn watch_forks() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the handlers obey the rules for code that runs around a fork: they use atomics and sleep, whatever other
        // threads hold. They live as long as the program. A failure (out of memory) leaves forks uncounted.
        unsafe { libc::pthread_atfork(Some(before_fork), Some(in_parent), Some(in_child)) };
    });
}

/// What else is to happen in a forked child, on its one thread, before `fork` returns there. It must not allocate or take a
/// lock. The last call counts.
pub(crate) fn set_in_child(hook: fn()) {
    IN_CHILD.store(hook as *mut (), Ordering::Release);
}

static IN_CHILD: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());

/// Runs `work`, during which no fork happens.
///
/// `work` holds a lock of the C library that a fork does not make free in the child, such as the loader's while it shows its
/// list (glibc's `dl_iterate_phdr`): a child born meanwhile could never take it, and would hang in its first panic. Waits
/// while a fork is under way; so does a fork for `work`, but for no longer than [`PATIENCE`]: it is not for a profiler to keep
/// a program from forking. For the profiler's own threads, and short work.
pub(crate) fn without_forks<T>(work: impl FnOnce() -> T) -> T {
    // Either we see that a fork is under way, or the fork sees us inside: all four operations have one order.
    INSIDE.fetch_add(1, Ordering::SeqCst);
    while FORKING.load(Ordering::SeqCst) > 0 {
        INSIDE.fetch_sub(1, Ordering::SeqCst);
        std::thread::sleep(PAUSE);
        INSIDE.fetch_add(1, Ordering::SeqCst);
    }
    let result = work();
    INSIDE.fetch_sub(1, Ordering::SeqCst);
    result
}

/// Threads that are inside [`without_forks`].
static INSIDE: AtomicU32 = AtomicU32::new(0);
/// Forks under way.
static FORKING: AtomicU32 = AtomicU32::new(0);
const PAUSE: Duration = Duration::from_micros(50);
const PATIENCE: Duration = Duration::from_millis(500);

extern "C" fn before_fork() {
    FORKING.fetch_add(1, Ordering::SeqCst);
    let pauses = PATIENCE.as_micros() / PAUSE.as_micros();
    for _ in 0..pauses {
        if INSIDE.load(Ordering::SeqCst) == 0 {
            break;
        }
        std::thread::sleep(PAUSE);
    }
}

extern "C" fn in_parent() {
    FORKING.fetch_sub(1, Ordering::SeqCst);
}

extern "C" fn in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    // Whoever was inside or forking is the parent's.
    INSIDE.store(0, Ordering::SeqCst);
    FORKING.store(0, Ordering::SeqCst);
    let hook = IN_CHILD.load(Ordering::Acquire);
    if !hook.is_null() {
        // SAFETY: only `set_in_child` stores here, and only functions of this type.
        let hook = unsafe { std::mem::transmute::<*mut (), fn()>(hook) };
        hook();
    }
}
