//! The handler around the profiler's: it forbids what is forbidden, calls the profiler's, and counts.

use super::{allocator, calls};
use crate::os;
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::hint::black_box;
use std::ptr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

static OURS: AtomicUsize = AtomicUsize::new(0);
/// Signals on all threads, on those at work, those of them during which calls were refused, those on a stack for signals.
static ALL: AtomicU64 = AtomicU64::new(0);
static AT_WORK: AtomicU64 = AtomicU64::new(0);
static REFUSING: AtomicU64 = AtomicU64::new(0);
static ELSEWHERE: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static IS_AT_WORK: Cell<bool> = const { Cell::new(false) };
    static STACK: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

/// What was counted so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    /// Signals on any thread.
    pub(super) all: u64,
    /// Signals on threads at work.
    pub(super) at_work: u64,
    /// Signals on threads at work during which system calls were refused.
    pub(super) refusing: u64,
    /// Signals on threads at work whose handler ran on a stack of its own.
    pub(super) on_signal_stack: u64,
}

/// A handler that does what is forbidden, for the test of the test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misdeed {
    Allocates,
    Frees,
    Calls,
}

static MISDEED: OnceLock<Misdeed> = OnceLock::new();
/// Something to free.
static LEFT: Mutex<Option<Box<u8>>> = Mutex::new(None);

impl Misdeed {
    pub(super) fn on_every_signal(self) {
        *LEFT.lock().unwrap() = Some(Box::new(1));
        assert!(MISDEED.set(self).is_ok());
    }

    fn do_it(self) {
        match self {
            Self::Allocates => _ = black_box(Box::new(1)),
            Self::Frees => LEFT.try_lock().map_or((), |mut left| *left = None),
            // SAFETY: a system call without arguments.
            Self::Calls => _ = unsafe { libc::syscall(libc::SYS_getppid) },
        }
    }
}

/// Takes the place of the profiler's handler and calls it from there.
pub(super) fn install() {
    OURS.store(os::handle_sigprof(wrapper), Ordering::Relaxed);
}

/// The calling thread is at work from now on: its signals are counted, its handler's system calls refused where they can be.
/// Again is a no-op.
pub(super) fn at_work() {
    if !IS_AT_WORK.replace(true) {
        STACK.set(os::own_signal_stack().map_or((0, 0), |stack| (stack.start, stack.end)));
        calls::arm();
    }
}

pub(super) fn counts() -> Counts {
    let [all, at_work, refusing, on_signal_stack] =
        [&ALL, &AT_WORK, &REFUSING, &ELSEWHERE].map(|count| count.load(Ordering::Relaxed));
    Counts { all, at_work, refusing, on_signal_stack }
}

extern "C" fn wrapper(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    ALL.fetch_add(1, Ordering::Relaxed);
    if IS_AT_WORK.get() {
        AT_WORK.fetch_add(1, Ordering::Relaxed);
        let (low, high) = STACK.get();
        let local = ptr::from_ref(&signal).addr();
        ELSEWHERE.fetch_add(u64::from((low..high).contains(&local)), Ordering::Relaxed);
    }
    allocator::forbid(true);
    let is_refusing = calls::refuse(true);
    os::call(OURS.load(Ordering::Relaxed), signal, info, context);
    if let Some(misdeed) = MISDEED.get() {
        misdeed.do_it();
    }
    calls::refuse(false);
    allocator::forbid(false);
    REFUSING.fetch_add(u64::from(is_refusing && IS_AT_WORK.get()), Ordering::Relaxed);
}
