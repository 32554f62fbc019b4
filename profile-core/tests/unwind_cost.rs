//! What a walk costs: time per frame (printed, not asserted: machines differ and are shared) and stack (asserted, for
//! the handler may have to run on a small alternate stack).
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(unsafe_code)] // a signal handler
#![allow(clippy::print_stderr)] // a test's report

mod unwind_support;

use profile_core::collector::StackEnd;
use profile_core::modules::ModuleList;
use profile_core::unwind::{Registers, StackBounds, UnwindTables, loaded_modules};
use std::ffi::{c_int, c_void};
use std::hint::black_box;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use unwind_support::{install, own_stack};

/// The most stack that a walk may use, in bytes. An unoptimised build nests more calls, in larger frames.
const MAX_STACK: u64 = if cfg!(debug_assertions) { 6000 } else { 512 };
const ROUNDS: u32 = 2000;

static TABLES: OnceLock<UnwindTables> = OnceLock::new();
static FRAMES: AtomicU64 = AtomicU64::new(0);
static PICOSECONDS_A_FRAME: AtomicU64 = AtomicU64::new(0);
static DEEPEST: AtomicU64 = AtomicU64::new(0);

#[test]
fn a_walk_is_short_in_time_and_on_the_stack() {
    TABLES.get_or_init(|| UnwindTables::compile(&loaded_modules(&ModuleList::default()), None));
    install(libc::SIGPROF, on_signal, 0);
    for depth in [1, 20, 100] {
        descend(depth);
        let frames = FRAMES.load(Ordering::Relaxed);
        let time = PICOSECONDS_A_FRAME.load(Ordering::Relaxed) as f64 / 1000.0;
        let stack = DEEPEST.load(Ordering::Relaxed);
        eprintln!("{frames} frames: {time:.1} ns a frame, {stack} bytes of stack");
        assert!(frames >= u64::from(depth), "only {frames} frames");
        assert!(stack <= MAX_STACK, "the walk uses {stack} bytes of stack");
    }
}

#[inline(never)]
fn descend(depth: u32) -> u64 {
    let local = [u64::from(depth); 5];
    if depth == 0 {
        // SAFETY: raises a signal whose handler is installed.
        unsafe { libc::raise(libc::SIGPROF) };
        return 1;
    }
    black_box(local)[2] + descend(depth - 1)
}

extern "C" fn on_signal(_signal: c_int, _info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the context is the kernel's.
    let registers = unsafe { Registers::from_ucontext(context) };
    let (Some(tables), stack) =
        (TABLES.get(), StackBounds { low: registers.sp - 128, high: own_stack().high })
    else {
        return;
    };
    let (mut best, mut frames) = (u64::MAX, 0);
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let (count, end) = walk(tables, registers, stack);
        best = best.min(begun.elapsed().as_nanos() as u64);
        frames = if end == StackEnd::Complete { count } else { 0 }; // 0 fails the test
    }
    let painted = paint();
    walk(tables, registers, stack);
    DEEPEST.store(touched(painted), Ordering::Relaxed);
    FRAMES.store(frames, Ordering::Relaxed);
    PICOSECONDS_A_FRAME.store(best * 1000 / frames.max(1), Ordering::Relaxed);
}

#[inline(never)]
fn walk(tables: &UnwindTables, registers: Registers, stack: StackBounds) -> (u64, StackEnd) {
    let (mut frames, mut sum) = (0, 0);
    // SAFETY: the registers and the stack are this thread's.
    let end = unsafe {
        tables.walk(registers, stack, 512, &mut |address| {
            frames += 1;
            sum ^= address;
            true
        })
    };
    black_box(sum);
    (frames, end)
}

const PAINTED: usize = 16 << 10;
const PAINT: u8 = 0xA5;

/// Paints the stack below the caller and answers the lowest painted address.
#[inline(never)]
fn paint() -> u64 {
    let paint = [black_box(PAINT); PAINTED];
    ptr::from_ref(black_box(&paint)) as u64
}

/// How much of the painted stack was used since, in bytes from its top.
#[inline(never)]
fn touched(painted: u64) -> u64 {
    // SAFETY: stack of this thread that `paint` has written; nobody owns it now, and a byte may have any value.
    let is_painted =
        |index: &usize| unsafe { ptr::read_volatile((painted as *const u8).add(*index)) } == PAINT;
    (PAINTED - (0..PAINTED).take_while(is_painted).count()) as u64
}
