//! The system calls of the comparison: clocks, memory, and signals to oneself.

use std::io;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// CPU time of the calling thread.
pub fn thread_cpu() -> Duration {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// CPU time of the process.
pub fn process_cpu() -> Duration {
    read(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn read(clock: libc::clockid_t) -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes to a live local; these clocks always exist.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Resident memory of the process, in bytes.
pub fn resident() -> io::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    Ok(pages.ok_or_else(|| io::Error::other("statm"))? * 4096)
}

/// The kernel's `siginfo_t` of a timer signal.
#[repr(C)]
struct TimerInfo {
    signo: i32,
    errno: i32,
    code: i32,
    _pad: i32,
    timer: i32,
    overrun: i32,
    value: u64,
    _rest: [u64; 12],
}

/// `SI_TIMER` of `<asm-generic/siginfo.h>`.
const SI_TIMER: i32 = -2;

/// Sends signals to the calling thread as its timer would.
pub struct Sender {
    process: libc::pid_t,
    thread: libc::pid_t,
    info: TimerInfo,
}

impl Sender {
    /// For the calling thread, with `value` in every signal.
    pub fn new(value: u64) -> Self {
        let info = TimerInfo {
            signo: libc::SIGPROF,
            errno: 0,
            code: SI_TIMER,
            _pad: 0,
            timer: 0,
            overrun: 0,
            value,
            _rest: [0; 12],
        };
        // SAFETY: both only return a number.
        Self { process: unsafe { libc::getpid() }, thread: unsafe { libc::gettid() }, info }
    }

    /// Sends one; its handler has run when this returns.
    #[inline]
    pub fn send(&self) {
        // SAFETY: the kernel reads a siginfo_t of 128 bytes, which `info` is.
        unsafe {
            libc::syscall(
                libc::SYS_rt_tgsigqueueinfo,
                self.process,
                self.thread,
                libc::SIGPROF,
                &raw const self.info,
            )
        };
    }
}

/// An action of SIGPROF.
#[derive(Clone, Copy)]
pub struct Action(libc::sigaction);

impl Action {
    /// The present one.
    pub fn current() -> Self {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: only reads the action into live storage, for which all zero is valid too.
        unsafe {
            libc::sigaction(libc::SIGPROF, std::ptr::null(), action.as_mut_ptr());
            Self(action.assume_init())
        }
    }

    /// A handler that does nothing, with the flags of this action.
    pub fn emptied(mut self) -> Self {
        self.0.sa_sigaction = empty as *const () as usize;
        self.0.sa_flags |= libc::SA_SIGINFO;
        self
    }

    fn capturing(mut self) -> Self {
        self.0.sa_sigaction = capture as *const () as usize;
        self.0.sa_flags |= libc::SA_SIGINFO;
        self
    }

    /// Puts it in place.
    pub fn install(&self) {
        // SAFETY: an action that was in place, or one with a handler of this module.
        unsafe { libc::sigaction(libc::SIGPROF, &raw const self.0, std::ptr::null_mut()) };
    }
}

extern "C" fn empty(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}

static WANTED: AtomicI32 = AtomicI32::new(0);
static SEEN: AtomicU64 = AtomicU64::new(0);

extern "C" fn capture(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel passes a siginfo_t; its fields are plain integers.
    let info = unsafe { &*info.cast::<TimerInfo>() };
    // SAFETY: only returns a number.
    if info.code == SI_TIMER && WANTED.load(Ordering::Relaxed) == unsafe { libc::gettid() } {
        SEEN.store(info.value, Ordering::Relaxed);
    }
}

/// The value that the profiler's timer for the calling thread sends: from the first signal that arrives while the thread
/// burns CPU time, which is taken away from the profiler.
pub fn cookie() -> io::Result<u64> {
    // SAFETY: only returns a number.
    WANTED.store(unsafe { libc::gettid() }, Ordering::Relaxed);
    let profilers = Action::current();
    profilers.capturing().install();
    let begun = Instant::now();
    while SEEN.load(Ordering::Relaxed) == 0 && begun.elapsed() < Duration::from_secs(60) {
        crate::threads::burn(Duration::from_millis(1));
    }
    profilers.install();
    match SEEN.load(Ordering::Relaxed) {
        0 => Err(io::Error::other("no timer signal came")),
        value => Ok(value),
    }
}
