//! The proof that the signal handler allocates nothing and makes no system call.
//!
//! A handler of the test's is installed after the profiler's and calls it, so that the profiler needs no hook: around
//! the call it sets a flag of the thread, on which the global allocator aborts, and has the kernel refuse every system call
//! of the thread with a signal (`PR_SET_SYSCALL_USER_DISPATCH`). A lock that is contended, or a lazily initialised
//! thread-local variable, shows up as one of the two.

use crate::harness::Watched;
use crate::os;
use crate::work::{dive_and_allocate, storm_on};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, UnsafeCell};
use std::ffi::{c_int, c_void};
use std::process::abort;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// The system's allocator, except in the handler.
pub(crate) struct Quiet;

thread_local! {
    static IN_HANDLER: Cell<bool> = const { Cell::new(false) };
    /// What the kernel looks at: whether this thread's system calls are refused.
    static REFUSED: UnsafeCell<u8> = const { UnsafeCell::new(ALLOW) };
    static ARMED: Cell<bool> = const { Cell::new(false) };
}

const ALLOW: u8 = 0;
const REFUSE: u8 = 1;

impl Quiet {
    fn check() {
        if IN_HANDLER.get() {
            abort();
        }
    }
}

// SAFETY: all calls go to the system's allocator as they are.
unsafe impl GlobalAlloc for Quiet {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::check();
        // SAFETY: the caller's promises are the inner allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        Self::check();
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::check();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::check();
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

static OURS: AtomicUsize = AtomicUsize::new(0);
static CALLS: AtomicU64 = AtomicU64::new(0);
static CALLS_REFUSING: AtomicU64 = AtomicU64::new(0);
/// For the test of the test: the wrapped handler misbehaves.
static MISBEHAVE: AtomicBool = AtomicBool::new(false);

extern "C" fn wrapper(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    CALLS.fetch_add(1, Ordering::Relaxed);
    let selector = REFUSED.with(UnsafeCell::get);
    IN_HANDLER.set(true);
    if ARMED.get() {
        CALLS_REFUSING.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the selector is this thread's, read by the kernel only when this thread makes a system call.
        unsafe { selector.write_volatile(REFUSE) };
    }
    os::call(OURS.load(Ordering::Relaxed), signal, info, context);
    if MISBEHAVE.load(Ordering::Relaxed) {
        // SAFETY: a system call without arguments.
        unsafe { libc::syscall(libc::SYS_getppid) };
    }
    // SAFETY: as above.
    unsafe { selector.write_volatile(ALLOW) };
    IN_HANDLER.set(false);
}

/// Lets the kernel refuse system calls of the calling thread while its selector says so. `false` where it cannot.
fn arm() -> bool {
    const PR_SET_SYSCALL_USER_DISPATCH: c_int = 59;
    const PR_SYS_DISPATCH_ON: c_int = 1;
    let selector = REFUSED.with(UnsafeCell::get);
    // SAFETY: the selector is a byte of the thread's static thread-local storage: it lives as long as the thread.
    let armed =
        unsafe { libc::prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, 0usize, 0usize, selector) }
            == 0;
    ARMED.set(armed);
    armed
}

pub(crate) fn handler() {
    let watched = Watched::start();
    OURS.store(os::handle_sigprof(wrapper), Ordering::Relaxed);
    let can_refuse = AtomicBool::new(true);
    storm_on(4, || {
        if !ARMED.get() && !arm() {
            can_refuse.store(false, Ordering::Relaxed);
        }
        dive_and_allocate();
    });
    if !can_refuse.load(Ordering::Relaxed) {
        profile_tests::skip::skip(
            "the_handler_allocates_nothing_and_calls_nobody: the part with system calls",
            "the kernel has no PR_SET_SYSCALL_USER_DISPATCH",
        );
    }
    let (calls, refusing) = (CALLS.load(Ordering::Relaxed), CALLS_REFUSING.load(Ordering::Relaxed));
    let figures = watched.finish();
    println!("{calls} calls of the handler, {refusing} of them without system calls");
    figures.check(0.9);
    // Some samples were taken before the wrapper was there, and some on the profiler's own threads.
    assert!(calls + 50 >= figures.stats.samples_taken && calls > 10);
    assert!(refusing > calls / 4 || !can_refuse.load(Ordering::Relaxed));
}
