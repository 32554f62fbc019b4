//! A walk that starts inside another signal's handler: through the trampoline, to the very instruction that was
//! interrupted, and on to the start of the thread; and one that starts on a stack that is not the thread's.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(unsafe_code)] // signal handlers and an alternate stack

mod unwind_support;

use profile_core::collector::StackEnd;
use profile_core::modules::ModuleList;
use profile_core::unwind::{Registers, StackBounds, TableSlot, UnwindTables, loaded_modules};
use std::arch::asm;
use std::ffi::{c_int, c_void};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use unwind_support::{install, own_stack};

static TABLES: TableSlot = TableSlot::new();
static FRAMES: [AtomicU64; 64] = [const { AtomicU64::new(0) }; 64];
static COUNT: AtomicUsize = AtomicUsize::new(0);
static END: AtomicUsize = AtomicUsize::new(usize::MAX);
static STACK_LOW: AtomicU64 = AtomicU64::new(0);
static STACK_HIGH: AtomicU64 = AtomicU64::new(0);
static TURN: Mutex<()> = Mutex::new(());

/// Takes the sample.
extern "C" fn on_profile(_signal: c_int, _info: *mut libc::siginfo_t, context: *mut c_void) {
    let guard = TABLES.enter();
    let stack =
        StackBounds { low: STACK_LOW.load(Ordering::Relaxed), high: STACK_HIGH.load(Ordering::Relaxed) };
    let mut count = 0;
    // SAFETY: the context is the kernel's, and the stack is this thread's.
    let end = guard.get().map(|tables| unsafe {
        tables.walk(Registers::from_ucontext(context), stack, FRAMES.len(), &mut |address| {
            FRAMES[count].store(address, Ordering::Relaxed);
            count += 1;
            true
        })
    });
    COUNT.store(count, Ordering::Relaxed);
    END.store(end.map_or(usize::MAX, |end| end as usize), Ordering::Relaxed);
}

/// Stands for an application's own handler.
extern "C" fn on_trap(_signal: c_int, _info: *mut libc::siginfo_t, _context: *mut c_void) {
    // SAFETY: raises a signal whose handler is installed.
    unsafe { libc::raise(libc::SIGPROF) };
}

/// Traps, and answers the address of the instruction behind the trap.
#[inline(never)]
fn trapping() -> u64 {
    let next: u64;
    // SAFETY: raises SIGTRAP, whose handler is installed; execution goes on behind the instruction.
    unsafe { asm!("lea {next}, [rip + 2f]", "int3", "2:", next = out(reg) next) };
    next
}

/// Samples from inside the handler of the trap, and answers the frames, the end and the interrupted instruction.
fn sample(trap_flags: c_int) -> (Vec<u64>, usize, u64) {
    let list = loaded_modules(&ModuleList::default());
    assert!(TABLES.replace(Box::new(UnwindTables::compile(&list, None))).is_ok());
    let stack = own_stack();
    STACK_LOW.store(stack.low, Ordering::Relaxed);
    STACK_HIGH.store(stack.high, Ordering::Relaxed);
    install(libc::SIGPROF, on_profile, 0);
    install(libc::SIGTRAP, on_trap, trap_flags);
    let interrupted = trapping();
    let count = COUNT.load(Ordering::Relaxed);
    let frames = FRAMES[..count].iter().map(|frame| frame.load(Ordering::Relaxed)).collect();
    (frames, END.load(Ordering::Relaxed), interrupted)
}

#[test]
fn the_interrupted_instruction_is_exact_and_the_stack_complete() {
    let _turn = TURN.lock().unwrap();
    let (frames, end, interrupted) = sample(0);
    assert_eq!(end, StackEnd::Complete as usize, "{frames:x?}");
    let at = frames.iter().position(|frame| *frame == interrupted);
    let at = at.unwrap_or_else(|| panic!("{interrupted:#x} is not in {frames:x?}"));
    // raise, its helpers, our handler and the trampoline come before; the test and its thread behind.
    assert!(at >= 3 && frames.len() > at + 3, "{at} in {frames:x?}");
}

#[test]
fn on_an_alternate_stack_only_the_leaf_is_recorded() {
    let _turn = TURN.lock().unwrap();
    // Rust gives every thread an alternate signal stack.
    let (frames, end, _) = sample(libc::SA_ONSTACK);
    assert_eq!(end, StackEnd::LeftStack as usize, "{frames:x?}");
    assert_eq!(frames.len(), 1, "{frames:x?}");
}
