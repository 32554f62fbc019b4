//! System calls of a thread that are refused, but for those on a list, which are carried out and counted.
//!
//! With `PR_SET_SYSCALL_USER_DISPATCH` the kernel looks at a byte of the thread's before each of its system calls: if it says
//! so, there is no call but a SIGSYS. Our handler of it knows what was to be called with which arguments. It ends the process
//! unless the call is on the list; such a call it makes itself, and puts the result where the interrupted code expects it.
//! Its own return is a system call too, made while calls are refused: the kernel lets pass what comes from one range of
//! code, and that is the few instructions by which this handler, and no other, returns.

use std::cell::{Cell, UnsafeCell};
use std::ffi::c_int;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// A system call that the handler may make.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) number: i64,
    /// The number of an argument, and what it must be.
    pub(super) argument: Option<(usize, u64)>,
}

thread_local! {
    /// What the kernel looks at: whether this thread's system calls are refused.
    static SELECTOR: UnsafeCell<u8> = const { UnsafeCell::new(ALLOW) };
    static IS_ARMED: Cell<bool> = const { Cell::new(false) };
}

const ALLOW: u8 = 0;
const REFUSE: u8 = 1;

static PERMITTED: OnceLock<&'static [Call]> = OnceLock::new();
/// How often each call on the list was made.
static MADE: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];

/// Sets which calls are not refused, once for the process. `false` where the kernel cannot refuse any.
pub(super) fn permit(calls: &'static [Call]) -> bool {
    assert!(calls.len() <= MADE.len() && PERMITTED.set(calls).is_ok());
    // Tried on a thread that is over then: only threads at work are to be looked at.
    dispatch::install() && thread::spawn(arm).join().unwrap()
}

/// How often each call on the list was made where calls are refused.
pub(super) fn made() -> Vec<u64> {
    let calls = PERMITTED.get().map_or(0, |calls| calls.len());
    MADE.iter().take(calls).map(|made| made.load(Ordering::Relaxed)).collect()
}

/// Lets the kernel look at the calling thread's selector from now on. `false` where it cannot.
pub(super) fn arm() -> bool {
    const PR_SET_SYSCALL_USER_DISPATCH: c_int = 59;
    const PR_SYS_DISPATCH_ON: c_int = 1;
    let (begin, length) = dispatch::way_back();
    let selector = SELECTOR.with(UnsafeCell::get);
    // Set before it is true, since a signal is often delivered on the way back from a system call: a call that is refused then
    // must belong to a handler that is counted as refusing.
    IS_ARMED.set(true);
    // SAFETY: the selector is a byte of the thread's static thread-local storage: it lives as long as the thread.
    let armed =
        unsafe { libc::prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, begin, length, selector) }
            == 0;
    IS_ARMED.set(armed);
    armed
}

/// Whether the calling thread's system calls are refused from now on. Answers whether they can be.
pub(super) fn refuse(is_refused: bool) -> bool {
    // SAFETY: the selector is this thread's, read by the kernel only when this thread makes a system call.
    SELECTOR
        .with(|selector| unsafe { selector.get().write_volatile(if is_refused { REFUSE } else { ALLOW }) });
    IS_ARMED.get()
}

/// Ends the process with a message, also where calls are refused and nothing may be allocated.
pub(super) fn give_up(message: &str) -> ! {
    refuse(false);
    for part in [message, "\n"] {
        // SAFETY: writes a live string.
        unsafe { libc::write(libc::STDERR_FILENO, part.as_ptr().cast(), part.len()) };
    }
    std::process::abort();
}

/// What SIGSYS does. Linux has it on this architecture only, up to version 6.15.
#[cfg(target_arch = "x86_64")]
mod dispatch {
    use super::{MADE, PERMITTED, give_up, refuse};
    use std::ffi::{c_int, c_void};
    use std::io::Write as _;
    use std::sync::atomic::Ordering;

    /// The kernel's own structure, since the C library's way back from a handler is another.
    #[repr(C)]
    struct KernelAction {
        handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void),
        flags: u64,
        restorer: extern "C" fn(),
        mask: u64,
    }

    const SA_RESTORER: u64 = 0x0400_0000;
    /// In bytes: more than the instructions of `restorer`, which end in one that is never reached.
    const RESTORER: usize = 8;

    /// Returns from a handler: `rt_sigreturn`.
    #[unsafe(naked)]
    extern "C" fn restorer() {
        // 5 + 2 + 2 bytes. The kernel compares the address behind the call, which is the last instruction's.
        std::arch::naked_asm!("mov eax, 15", "syscall", "ud2")
    }

    pub(super) fn way_back() -> (usize, usize) {
        (restorer as *const () as usize, RESTORER)
    }

    pub(super) fn install() -> bool {
        let flags = (libc::SA_SIGINFO | libc::SA_ONSTACK) as u64 | SA_RESTORER;
        let action = KernelAction { handler: on_refusal, flags, restorer, mask: 0 };
        // SAFETY: reads a live local of the kernel's layout, whose signal sets have 8 bytes.
        let result = unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                libc::SIGSYS,
                &raw const action,
                std::ptr::null_mut::<c_void>(),
                8usize,
            )
        };
        result == 0
    }

    extern "C" fn on_refusal(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
        refuse(false);
        // SAFETY: the kernel passes the interrupted thread's context. The registers are as they were before the call.
        let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
        let arguments =
            [libc::REG_RDI, libc::REG_RSI, libc::REG_RDX, libc::REG_R10, libc::REG_R8, libc::REG_R9]
                .map(|register| registers[register as usize]);
        let result = &mut registers[libc::REG_RAX as usize];
        let number = *result;
        let is_it = |call: &super::Call| {
            let fits = |(index, value): (usize, u64)| arguments[index].cast_unsigned() == value;
            call.number == number && call.argument.is_none_or(fits)
        };
        match PERMITTED.get().and_then(|calls| calls.iter().position(is_it)) {
            Some(place) => {
                MADE[place].fetch_add(1, Ordering::Relaxed);
                *result = call(number, arguments);
            }
            None => {
                let mut text = [b' '; 160];
                let _ = write!(&mut text[..], "the handler makes system call {number} with {arguments:x?}");
                give_up(str::from_utf8(&text).unwrap_or("the handler makes a system call"));
            }
        }
        refuse(true);
    }

    /// The system call itself; not the C library's function, which would change `errno`.
    fn call(number: i64, arguments: [i64; 6]) -> i64 {
        let result;
        // SAFETY: what the interrupted code was about to do, on the same thread.
        unsafe {
            std::arch::asm!("syscall", inlateout("rax") number => result, in("rdi") arguments[0],
                in("rsi") arguments[1], in("rdx") arguments[2], in("r10") arguments[3], in("r8") arguments[4],
                in("r9") arguments[5], lateout("rcx") _, lateout("r11") _, options(nostack));
        }
        result
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod dispatch {
    pub(super) fn way_back() -> (usize, usize) {
        (0, 0)
    }

    pub(super) fn install() -> bool {
        false
    }
}
