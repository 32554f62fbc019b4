//! The sample ring's producer, as compiled, interrupted after every single machine instruction.
//!
//! The processor's trap flag makes the kernel send a SIGTRAP after each instruction. For each instruction of an outer
//! producer there is a run in which the handler, at that instruction, writes a record into the same ring; and in other
//! runs the handler reads the ring after every instruction, as a consumer on another processor might. The unit tests do
//! the same between the memory operations of the source; here the compiler's order of them is tested too.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(unsafe_code)] // the door of this test: the trap flag and a signal handler

use profile_test_support::skip;

use std::arch::asm;
use std::ffi::{c_int, c_void};
use std::hint::black_box;
use std::mem;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use profile_core::ring::Ring;

const WORDS: usize = 32;
const TRAP_FLAG: u64 = 0x100;
const OUTER: u32 = 1;
const NESTED: u32 = 2;
/// Up to so many instructions, each is tried: that is optimised code. Of more, a sample.
const ALL: u64 = 300;

static TEST: OnceLock<Test> = OnceLock::new();

/// What the handler works with. Atomics, as it runs between any two instructions of the thread.
#[derive(Default)]
struct Test {
    ring: Ring<WORDS>,
    /// Instructions since stepping began.
    steps: AtomicU64,
    /// The one after which a nested record is written.
    nest_at: AtomicU64,
    /// Whether the ring is read after each instruction.
    watch: AtomicBool,
    /// Whole records read, by tag.
    seen: [AtomicU32; 3],
    /// Other records read.
    torn: AtomicU32,
    /// Nested records refused.
    refused: AtomicU32,
}

#[derive(Clone, Copy, Debug)]
enum Outer {
    Exact,
    Shrunk,
    GivenUp,
    Refused,
}

#[test]
fn a_producer_interrupted_at_any_instruction_loses_nothing() {
    let test = TEST.get_or_init(Test::default);
    handle_traps();
    for outer in [Outer::Exact, Outer::Shrunk, Outer::GivenUp, Outer::Refused] {
        let instructions = test.run(outer, u64::MAX);
        if instructions == 0 {
            skip::skip("ring_steps", "the trap flag has no effect here (an emulator?)");
            return;
        }
        assert_eq!(test.take_seen(), [0, outer.committed(), 0], "{outer:?} stepped through");
        let stride = if instructions <= ALL { 1 } else { (instructions / 20) as usize };
        let mut reached = 0;
        for (watch, nest_at) in [false, true]
            .into_iter()
            .flat_map(|watch| (0..instructions).step_by(stride).map(move |nest_at| (watch, nest_at)))
        {
            test.watch.store(watch, Ordering::Relaxed);
            // The last instructions may be missed: not every run takes the same way through instrumented code.
            let nested = u32::from(test.run(outer, nest_at) > nest_at);
            reached += u64::from(nested);
            let context = format!("{outer:?}, at instruction {nest_at} of {instructions}, watched: {watch}");
            assert_eq!(test.take_seen(), [0, outer.committed(), nested], "{context}");
            assert_eq!(test.refused.load(Ordering::Relaxed), 0, "{context}: there is always room");
            assert!(test.ring.reserve(WORDS - 1).is_some(), "{context}: all room is back");
        }
        test.watch.store(false, Ordering::Relaxed);
        println!("{outer:?}: {instructions} instructions, interrupted at {reached}");
        assert!(instructions > 40 && reached >= 40, "{outer:?}: {reached} of {instructions}");
    }
}

impl Outer {
    /// How many records it leaves.
    fn committed(self) -> u32 {
        u32::from(matches!(self, Self::Exact | Self::Shrunk))
    }

    /// The producer under test. Not inlined, so that it is compiled by itself.
    #[inline(never)]
    fn produce(self, ring: &Ring<WORDS>) {
        let (room, words) = match self {
            Self::Exact => (2, 2),
            Self::Shrunk | Self::GivenUp => (9, 2),
            Self::Refused => (WORDS, 0),
        };
        let Some(mut record) = ring.reserve(room) else { return };
        for index in 0..words {
            record.push(word(OUTER, index));
        }
        if !matches!(self, Self::GivenUp) {
            record.commit(OUTER);
        }
    }
}

impl Test {
    /// Steps through an outer producer, with a nested one after so many instructions, and reads what is left. Returns
    /// the number of instructions.
    fn run(&self, outer: Outer, nest_at: u64) -> u64 {
        self.nest_at.store(nest_at, Ordering::Relaxed);
        self.steps.store(0, Ordering::Relaxed);
        // SAFETY: changes the trap flag only, below the stack pointer where the compiler expects an `asm!` to push; the
        // traps have a handler, which preserves all registers.
        unsafe { asm!("pushfq", "or qword ptr [rsp], {flag}", "popfq", flag = const TRAP_FLAG) };
        black_box(outer).produce(black_box(&self.ring));
        // SAFETY: as above.
        unsafe { asm!("pushfq", "and qword ptr [rsp], {mask}", "popfq", mask = const !(TRAP_FLAG as i32)) };
        self.read();
        self.steps.load(Ordering::Relaxed)
    }

    /// In the handler: the thread has executed one more instruction of an outer producer. Returns whether to go on.
    fn step(&self) -> bool {
        let steps = self.steps.load(Ordering::Relaxed);
        self.steps.store(steps + 1, Ordering::Relaxed);
        if steps == self.nest_at.load(Ordering::Relaxed) {
            match self.ring.reserve(4) {
                Some(mut record) => {
                    record.push(word(NESTED, 0));
                    record.push(word(NESTED, 1));
                    record.commit(NESTED);
                }
                None => _ = self.refused.fetch_add(1, Ordering::Relaxed),
            }
        }
        let watch = self.watch.load(Ordering::Relaxed);
        if watch {
            self.read();
        }
        watch || steps < self.nest_at.load(Ordering::Relaxed)
    }

    /// Counts the published records.
    fn read(&self) {
        let Some(mut consumer) = self.ring.consumer() else { return };
        let drained = consumer.drain(|record| {
            let tag = record.tag();
            let whole = (1..=2).contains(&tag) && record.words().eq([word(tag, 0), word(tag, 1)]);
            let counter = if whole { &self.seen[tag as usize] } else { &self.torn };
            counter.fetch_add(1, Ordering::Relaxed);
        });
        if drained.corrupt_words > 0 {
            self.torn.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The numbers of torn records, outer ones and nested ones since the last call.
    fn take_seen(&self) -> [u32; 3] {
        [&self.torn, &self.seen[1], &self.seen[2]].map(|counter| counter.swap(0, Ordering::Relaxed))
    }
}

fn word(tag: u32, index: u64) -> u64 {
    u64::from(tag) << 32 | index << 8 | 0xA5
}

extern "C" fn on_trap(_signal: c_int, _info: *mut libc::siginfo_t, context: *mut c_void) {
    // The kernel has cleared the trap flag for the handler, and restores it from the context on return.
    if !TEST.get().is_some_and(Test::step) {
        // SAFETY: with SA_SIGINFO, the kernel passes the interrupted thread's context, ours to change until we return.
        let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
        registers[libc::REG_EFL as usize] &= !(TRAP_FLAG as i64);
    }
}

fn handle_traps() {
    // SAFETY: zero is a valid value of the struct, whose relevant fields are then set; the handler has the signature
    // that SA_SIGINFO asks for.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = on_trap as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        assert_eq!(libc::sigaction(libc::SIGTRAP, &raw const action, ptr::null_mut()), 0);
    }
}
