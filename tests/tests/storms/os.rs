//! What the storms ask of the system: signals, timers, threads with stacks of their own, libraries, fork.

use std::ffi::{CStr, CString, c_int, c_void};
use std::io;
use std::mem::{self, MaybeUninit};
use std::ops::Range;
use std::path::Path;
use std::ptr;
use std::time::{Duration, Instant};

pub(crate) type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

/// Installs `handler` for SIGPROF and returns the address of the one that was there.
pub(crate) fn handle_sigprof(handler: Handler) -> usize {
    set_sigprof(handler as *const () as usize)
}

/// Sets the action of SIGPROF, a handler of three arguments, `SIG_DFL` or `SIG_IGN`; returns the one that was there.
pub(crate) fn set_sigprof(handler: usize) -> usize {
    // SAFETY: all zero is a valid sigaction.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
    let mut old = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: the action is live and its handler is a function of this program or was one before; `old` is writable.
    check(unsafe { libc::sigaction(libc::SIGPROF, &raw const action, old.as_mut_ptr()) });
    // SAFETY: filled by the call, and all zero is valid too.
    unsafe { old.assume_init() }.sa_sigaction
}

/// The action of SIGPROF now.
pub(crate) fn sigprof() -> usize {
    let mut now = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: only reads the action into `now`.
    check(unsafe { libc::sigaction(libc::SIGPROF, ptr::null(), now.as_mut_ptr()) });
    // SAFETY: as in `set_sigprof`.
    unsafe { now.assume_init() }.sa_sigaction
}

/// Calls a handler found in an action.
pub(crate) fn call(handler: usize, signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    if handler == libc::SIG_DFL || handler == libc::SIG_IGN {
        return;
    }
    // SAFETY: all handlers in these tests take three arguments, and so does the profiler's.
    let handler = unsafe { mem::transmute::<usize, Handler>(handler) };
    handler(signal, info, context);
}

/// Blocks or unblocks SIGPROF on the calling thread.
pub(crate) fn block_sigprof(blocked: bool) {
    let how = if blocked { libc::SIG_BLOCK } else { libc::SIG_UNBLOCK };
    let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: the set is initialised by sigemptyset before it is used.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGPROF);
        assert_eq!(libc::pthread_sigmask(how, set.as_ptr(), ptr::null_mut()), 0);
    }
}

/// Sends SIGPROF to the calling thread, as another library might.
pub(crate) fn raise_sigprof() {
    // SAFETY: raises a signal that has a handler.
    check(unsafe { libc::raise(libc::SIGPROF) });
}

/// Starts `setitimer(ITIMER_PROF)`, as the older profilers do; zero stops it.
pub(crate) fn itimer_prof(period: Duration) {
    let time = libc::timeval { tv_sec: 0, tv_usec: period.as_micros() as libc::suseconds_t };
    let timer = libc::itimerval { it_interval: time, it_value: time };
    // SAFETY: the value is live; the old one is not asked for.
    check(unsafe { libc::setitimer(libc::ITIMER_PROF, &raw const timer, ptr::null_mut()) });
}

/// A POSIX timer on the process's CPU clock that sends SIGPROF with a value that is not the profiler's.
pub(crate) struct Timer(libc::timer_t);

impl Timer {
    pub(crate) fn start(period: Duration) -> Self {
        // SAFETY: all zero is a valid sigevent.
        let mut event: libc::sigevent = unsafe { mem::zeroed() };
        event.sigev_notify = libc::SIGEV_SIGNAL;
        event.sigev_signo = libc::SIGPROF;
        event.sigev_value = libc::sigval { sival_ptr: ptr::without_provenance_mut(7) };
        let mut timer = MaybeUninit::zeroed();
        // SAFETY: both pointers are to live locals.
        check(unsafe {
            libc::timer_create(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut event, timer.as_mut_ptr())
        });
        // SAFETY: filled by the call.
        let timer = unsafe { timer.assume_init() };
        let time = libc::timespec { tv_sec: 0, tv_nsec: period.as_nanos() as libc::c_long };
        let spec = libc::itimerspec { it_interval: time, it_value: time };
        // SAFETY: the timer was just made, the value is live, the old one is not asked for.
        check(unsafe { libc::timer_settime(timer, 0, &raw const spec, ptr::null_mut()) });
        Self(timer)
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: made by `start`, deleted once.
        unsafe { libc::timer_delete(self.0) };
    }
}

/// How many POSIX timers the process has; `None` where the kernel does not say.
pub(crate) fn timers() -> Option<usize> {
    let list = std::fs::read_to_string("/proc/self/timers").ok()?;
    Some(list.lines().filter(|line| line.starts_with("ID:")).count())
}

/// Runs `work` on a thread with a stack of `bytes`, made by the C library alone: it has no alternate signal stack and no
/// thread-local value of ours.
pub(crate) fn on_stack_of(bytes: usize, work: extern "C" fn(*mut c_void) -> *mut c_void) -> Raw {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::zeroed();
    let mut thread = MaybeUninit::<libc::pthread_t>::zeroed();
    // SAFETY: the attributes are initialised before they are used and destroyed once; the thread's function takes and
    // returns a pointer and reads no argument.
    unsafe {
        assert_eq!(libc::pthread_attr_init(attributes.as_mut_ptr()), 0);
        assert_eq!(libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), bytes), 0);
        let made = libc::pthread_create(thread.as_mut_ptr(), attributes.as_ptr(), work, ptr::null_mut());
        assert_eq!(made, 0);
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        Raw(thread.assume_init())
    }
}

/// A thread of [`on_stack_of`].
pub(crate) struct Raw(libc::pthread_t);

impl Raw {
    pub(crate) fn join(self) {
        // SAFETY: made by `on_stack_of`, joined once, its result not asked for.
        assert_eq!(unsafe { libc::pthread_join(self.0, ptr::null_mut()) }, 0);
    }
}

/// Gives the calling thread an alternate signal stack of `bytes`, which is leaked.
pub(crate) fn signal_stack(bytes: usize) {
    let memory = Box::leak(vec![0u8; bytes].into_boxed_slice());
    let stack = libc::stack_t { ss_sp: memory.as_mut_ptr().cast(), ss_flags: 0, ss_size: bytes };
    // SAFETY: the memory is never given back and used for nothing else.
    check(unsafe { libc::sigaltstack(&raw const stack, ptr::null_mut()) });
}

/// The stack on which the calling thread's signals run, if it has one for them.
pub(crate) fn own_signal_stack() -> Option<Range<usize>> {
    let mut stack = MaybeUninit::<libc::stack_t>::zeroed();
    // SAFETY: only writes to a live local.
    check(unsafe { libc::sigaltstack(ptr::null(), stack.as_mut_ptr()) });
    // SAFETY: filled by the call.
    let stack = unsafe { stack.assume_init() };
    let low = stack.ss_sp.addr();
    (stack.ss_flags & libc::SS_DISABLE == 0).then(|| low..low + stack.ss_size)
}

/// In the child: 0.
pub(crate) fn fork() -> libc::pid_t {
    // SAFETY: the child allocates and takes locks of the C library, which glibc makes fit for use after a fork, and none
    // that a test's other threads hold.
    let pid = unsafe { libc::fork() };
    check(pid.min(0));
    pid
}

/// Ends a forked child at once.
pub(crate) fn exit(code: c_int) -> ! {
    // SAFETY: never returns, runs no destructors.
    unsafe { libc::_exit(code) }
}

/// Waits for a child; its exit code. One that hangs is killed after `limit` and answers `None`, as does one that a signal
/// has killed.
pub(crate) fn wait(pid: libc::pid_t, limit: Duration) -> Option<c_int> {
    let start = Instant::now();
    let mut status = 0;
    loop {
        // SAFETY: writes the status of our own child.
        if unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) } == pid {
            return libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status));
        }
        if start.elapsed() > limit {
            // SAFETY: our own child, which has not been waited for.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// How many files of perf events the process has open. In a forked child it is called, too: it allocates.
pub(crate) fn perf_files() -> usize {
    let files = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    files
        .filter(|file| {
            std::fs::read_link(file.path()).is_ok_and(|to| to.as_os_str() == "anon_inode:[perf_event]")
        })
        .count()
}

/// Makes this process one of a user without any rights. `false` if it may not.
pub(crate) fn become_nobody() -> bool {
    const NOBODY: libc::uid_t = 65_534;
    // SAFETY: numbers only. The last call makes it a process like any other of that user again.
    unsafe {
        libc::setresuid(NOBODY, NOBODY, NOBODY) == 0
            && libc::prctl(libc::PR_SET_DUMPABLE, 1usize, 0usize, 0usize, 0usize) == 0
    }
}

/// Has the calling thread run before all that are not like it. `false` if it may not.
pub(crate) fn go_first() -> bool {
    let first = libc::sched_param { sched_priority: 1 };
    // SAFETY: reads a live local; 0 is the calling thread.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const first) == 0 }
}

/// Sleeps until the monotonic clock is `offset` behind the next multiple of `period`.
pub(crate) fn sleep_until_multiple(period: Duration, offset: Duration) {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes to a live local.
    check(unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) });
    let now = now.tv_sec as u128 * 1_000_000_000 + now.tv_nsec as u128;
    let (period, offset) = (period.as_nanos(), offset.as_nanos());
    let next = (now.saturating_sub(offset) / period + 1) * period + offset;
    let until =
        libc::timespec { tv_sec: (next / 1_000_000_000) as i64, tv_nsec: (next % 1_000_000_000) as i64 };
    // SAFETY: reads a live local; what is left is not asked for.
    unsafe {
        libc::clock_nanosleep(libc::CLOCK_MONOTONIC, libc::TIMER_ABSTIME, &raw const until, ptr::null_mut())
    };
}

/// Replaces this program.
pub(crate) fn exec(program: &CStr, arguments: &[&CStr]) -> io::Error {
    let mut list: Vec<_> = arguments.iter().map(|argument| argument.as_ptr()).collect();
    list.push(ptr::null());
    // SAFETY: the list ends in null, and its strings outlive the call.
    unsafe { libc::execv(program.as_ptr(), list.as_ptr()) };
    io::Error::last_os_error()
}

/// The soft and hard limit of signals that may be queued.
pub(crate) fn pending_limit() -> (u64, u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes to a live local.
    check(unsafe { libc::getrlimit(libc::RLIMIT_SIGPENDING, &raw mut limit) });
    (limit.rlim_cur, limit.rlim_max)
}

pub(crate) fn set_pending_limit(soft: u64, hard: u64) {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: reads a live local.
    check(unsafe { libc::setrlimit(libc::RLIMIT_SIGPENDING, &raw const limit) });
}

/// A loaded library.
pub(crate) struct Library(*mut c_void);

impl Library {
    pub(crate) fn open(path: &Path) -> Self {
        let path = CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: the libraries of these tests have no constructors.
        let library = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
        assert!(!library.is_null(), "{path:?} does not load");
        Self(library)
    }

    /// The function `name`, which must take and return a number, and its address.
    pub(crate) fn function(&self, name: &CStr) -> (extern "C" fn(u64) -> u64, usize) {
        // SAFETY: the library is open, the name a C string.
        let address = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        assert!(!address.is_null());
        // SAFETY: the test's own C code defines it with this type.
        (unsafe { mem::transmute::<*mut c_void, extern "C" fn(u64) -> u64>(address) }, address as usize)
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: opened once, closed once; no code of it is running.
        unsafe { libc::dlclose(self.0) };
    }
}

pub(crate) fn check(result: c_int) {
    assert!(result >= 0, "{}", io::Error::last_os_error());
}
