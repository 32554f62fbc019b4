//! SIGPROF: our handler, and the handlers of others.
//!
//! Once installed, the handler stays for the life of the process, unless there was one before it that wants its place
//! back. Restoring the default action would kill the process at the next signal that is still on its way, and another
//! library may have saved our handler as the one to go back to. While nothing is sampled it only passes on what is not
//! ours.
//!
//! A signal is ours when it comes from a POSIX timer (`SI_TIMER`) and carries our [cookie](cookie), or when it comes from a
//! file (`POLL_IN` and the like, by `F_SETSIG`) that the sampler knows as an event of its own. All others go to the handler
//! that was there before.

use crate::unwind::Registers;
use std::io;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

/// One expiry of a timer or event, as seen by the thread that it interrupted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tick {
    pub(crate) source: Source,
    /// Where the thread was.
    pub(crate) registers: Registers,
}

/// What has expired.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    /// One of our timers.
    Timer {
        /// What it was started with.
        payload: u32,
        /// How many periods came due: one and the overruns.
        weight: u64,
    },
    /// The file of an event, ours or not.
    Event { fd: i32 },
}

/// What to do on a tick; answers whether it was ours. It runs in a signal handler: no allocation, no lock.
pub(crate) type OnTick = fn(&Tick) -> bool;

/// "PROF" in the upper half of a cookie tells our timers' signals from those of other timers.
const MAGIC: u64 = 0x5052_4F46 << 32;

/// `SI_TIMER` of `<asm-generic/siginfo.h>`.
const SI_TIMER: libc::c_int = -2;

/// The codes of signals that are sent for a file: `POLL_IN` to `POLL_HUP` of `<asm-generic/siginfo.h>`.
const POLL: std::ops::RangeInclusive<libc::c_int> = 1..=6;

static ON_TICK: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());
/// The action that was there before ours, leaked once it has been stored.
static PREVIOUS: AtomicPtr<libc::sigaction> = AtomicPtr::new(std::ptr::null_mut());

/// Whether others may know our handler: it has been installed and not given back since.
static INSTALLED: AtomicBool = AtomicBool::new(false);

/// The value a timer is started with so that its signals are known as ours.
pub(crate) const fn cookie(payload: u32) -> u64 {
    MAGIC | payload as u64
}

/// Makes `on_tick` the receiver of our timers' signals. Again with the same function is cheap.
///
/// A handler that was installed over ours since is left where it is: it probably passes on to ours what it does not know,
/// and if ours passed on to it in turn, a foreign signal would go round for ever. [`place`] says how it is.
pub(crate) fn install(on_tick: OnTick) -> io::Result<()> {
    ON_TICK.store(on_tick as *mut (), Ordering::Release);
    let current = action(None)?;
    if is_ours(&current) || (INSTALLED.load(Ordering::Relaxed) && is_handler(&current)) {
        return Ok(());
    }
    // Once others may know our handler, who stands behind us stays the same: if the action was reset, only our own place
    // has to be taken again.
    if !INSTALLED.load(Ordering::Relaxed) {
        remember(current);
    }
    let mut ours = current;
    ours.sa_sigaction = handler as *const () as usize;
    // SA_RESTART: interrupted system calls go on. SA_ONSTACK: threads with small stacks may have another one for signals.
    // The former handler's mask stays: it asked for these signals to wait while it runs.
    ours.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
    action(Some(&ours))?;
    INSTALLED.store(true, Ordering::Relaxed);
    Ok(())
}

/// Gives the place back to the handler that was there before ours, if there was one and if ours is still the current one.
/// If not, our handler stays and passes on what it gets: the default action would kill the process at the next signal
/// that is still on its way, and whoever came later may have ours as the one to pass on to.
pub(crate) fn give_back() -> io::Result<()> {
    // SAFETY: null, or what `remember` leaked, which is never changed.
    let Some(previous) = (unsafe { PREVIOUS.load(Ordering::Acquire).as_ref() }) else { return Ok(()) };
    if !is_handler(previous) || !is_ours(&action(None)?) {
        return Ok(());
    }
    let replaced = action(Some(previous))?;
    if is_ours(&replaced) {
        INSTALLED.store(false, Ordering::Relaxed);
    } else {
        action(Some(&replaced))?; // somebody came in between
    }
    Ok(())
}

/// Who gets SIGPROF now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Our handler.
    Ours,
    /// A handler that was installed after ours, which may pass signals on to ours or not.
    Covered,
    /// Nobody: the action was reset.
    Reset,
}

/// Who gets SIGPROF now. One system call.
pub(crate) fn place() -> Place {
    match action(None) {
        Ok(current) if is_ours(&current) => Place::Ours,
        Ok(current) if is_handler(&current) => Place::Covered,
        Ok(_) => Place::Reset,
        Err(_) => Place::Ours, // cannot be read, so nothing is known to be wrong
    }
}

fn is_ours(action: &libc::sigaction) -> bool {
    action.sa_sigaction == handler as *const () as usize
}

fn is_handler(action: &libc::sigaction) -> bool {
    !matches!(action.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN)
}

/// Stores whom to pass foreign signals to, before our handler can run. The old value, if any, may be in use by a handler
/// right now: it is leaked, some hundred bytes for each time another handler is there at a start.
fn remember(action: libc::sigaction) {
    // SAFETY: as in `give_back`.
    let known = unsafe { PREVIOUS.load(Ordering::Acquire).as_ref() };
    let same = |known: &libc::sigaction| {
        (known.sa_sigaction, known.sa_flags) == (action.sa_sigaction, action.sa_flags)
    };
    if !known.is_some_and(same) {
        PREVIOUS.store(Box::into_raw(Box::new(action)), Ordering::Release);
    }
}

/// Reads, and with `new` replaces, the action of SIGPROF.
fn action(new: Option<&libc::sigaction>) -> io::Result<libc::sigaction> {
    let mut old = MaybeUninit::<libc::sigaction>::zeroed();
    let new = new.map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `new` is null or a live action whose handler obeys the rules for handlers; `old` is storage for the result.
    if unsafe { libc::sigaction(libc::SIGPROF, new, old.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so `old` is filled; and all zero would be valid too.
    Ok(unsafe { old.assume_init() })
}

/// The kernel's `siginfo_t` of a timer signal. Source: Linux `include/uapi/asm-generic/siginfo.h`, `_timer`.
#[repr(C)]
struct TimerInfo {
    signo: libc::c_int,
    errno: libc::c_int,
    code: libc::c_int,
    _pad: libc::c_int,
    timer: libc::c_int,
    overrun: libc::c_int,
    value: u64,
}

/// The kernel's `siginfo_t` of a signal for a file. Source: as above, `_sigpoll`.
#[repr(C)]
struct PollInfo {
    signo: libc::c_int,
    errno: libc::c_int,
    code: libc::c_int,
    _pad: libc::c_int,
    band: libc::c_long,
    fd: libc::c_int,
}

extern "C" fn handler(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: errno's location is valid for the whole life of the thread, and touching it allocates nothing: it lies in
    // libc's own static thread-local storage.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above. The interrupted code may be about to read errno, so it must find its value again.
    let saved = unsafe { *errno };
    // SAFETY: the kernel passes a siginfo_t, which is larger than TimerInfo; the fields beyond `code` are read only for
    // SI_TIMER, for which they have this layout, and are plain integers in any case.
    let timer = unsafe { &*info.cast::<TimerInfo>() };
    let source = if timer.code == SI_TIMER && timer.value & (0xffff_ffff << 32) == MAGIC {
        let weight = 1 + u64::try_from(timer.overrun).unwrap_or(0);
        Some(Source::Timer { payload: timer.value as u32, weight })
    } else if POLL.contains(&timer.code) {
        // SAFETY: as above: a siginfo_t is larger, and its integers may be read whatever they mean.
        Some(Source::Event { fd: unsafe { (*info.cast::<PollInfo>()).fd } })
    } else {
        None
    };
    let is_ours = source.is_some_and(|source| {
        let on_tick = ON_TICK.load(Ordering::Acquire);
        if on_tick.is_null() {
            return matches!(source, Source::Timer { .. });
        }
        // SAFETY: only `install` stores here, and only values of this type.
        let on_tick = unsafe { std::mem::transmute::<*mut (), OnTick>(on_tick) };
        // SAFETY: SA_SIGINFO handlers get the interrupted context of their own thread.
        on_tick(&Tick { source, registers: unsafe { Registers::from_ucontext(context) } })
    });
    if !is_ours {
        pass_on(signal, info, context);
    }
    // SAFETY: as above.
    unsafe { *errno = saved };
}

/// Hands a signal that is not ours to the handler that was there before us. The default action of SIGPROF is to kill
/// the process: as for a program that never asked for SIGPROF, but then nobody sends it any; so it is not carried out.
fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let previous = PREVIOUS.load(Ordering::Acquire);
    if previous.is_null() {
        return;
    }
    // SAFETY: only `install` stores here, a leaked allocation that is never changed again.
    let previous = unsafe { &*previous };
    if !is_handler(previous) {
        return;
    }
    let address = previous.sa_sigaction;
    if previous.sa_flags & libc::SA_SIGINFO != 0 {
        type WithInfo = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
        // SAFETY: the former owner registered this address as a handler of three arguments.
        let former = unsafe { std::mem::transmute::<usize, WithInfo>(address) };
        former(signal, info, context);
    } else {
        // SAFETY: the former owner registered this address as a handler of one argument.
        let former = unsafe { std::mem::transmute::<usize, extern "C" fn(libc::c_int)>(address) };
        former(signal);
    }
}
