//! The door to the interrupted thread: its registers and its stack.
#![allow(unsafe_code)] // the unwinder's door: the signal context, and words of the thread's own stack

use super::arch::{Native, Registers};
use super::set::UnwindTables;
use super::walk::{Source, StackBounds, walk};
use crate::collector::StackEnd;

impl Registers {
    /// The registers of the thread that a signal interrupted.
    ///
    /// # Safety
    ///
    /// `context` is the third argument of a signal handler installed with `SA_SIGINFO`, and the handler has not
    /// returned.
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    #[must_use]
    #[inline]
    pub unsafe fn from_ucontext(context: *const std::ffi::c_void) -> Self {
        // SAFETY: the kernel passes a `ucontext_t` that is valid until the handler returns, as the caller promises.
        let registers = unsafe { &(*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
        let register = |index: i32| registers[index as usize].cast_unsigned();
        Self { pc: register(libc::REG_RIP), sp: register(libc::REG_RSP), fp: register(libc::REG_RBP), lr: 0 }
    }

    /// The registers of the thread that a signal interrupted. Unverified until run.
    ///
    /// # Safety
    ///
    /// `context` is the third argument of a signal handler installed with `SA_SIGINFO`, and the handler has not
    /// returned.
    #[cfg(all(target_os = "linux", target_arch = "aarch64"))]
    #[must_use]
    #[inline]
    pub unsafe fn from_ucontext(context: *const std::ffi::c_void) -> Self {
        use super::arch::{Aarch64, Architecture};
        // SAFETY: the kernel passes a `ucontext_t` that is valid until the handler returns, as the caller promises.
        let registers = unsafe { &(*context.cast::<libc::ucontext_t>()).uc_mcontext };
        Self {
            pc: registers.pc,
            sp: registers.sp,
            fp: registers.regs[29],
            lr: Aarch64::code_address(registers.regs[30]),
        }
    }
}

impl UnwindTables {
    /// Walks the stack of the calling thread from `registers` and gives every frame's lookup address to `sink`, leaf
    /// first, until the outermost frame, `max_frames` frames, or a `false` from `sink`.
    ///
    /// Made for signal handlers: no allocation, lock, system call or panic; time bounded by `max_frames`.
    ///
    /// # Safety
    ///
    /// `registers` are those of the calling thread, interrupted or not, and `stack` bounds its stack: from
    /// `registers.sp` less the red zone, or `stack.low` if that is higher, up to `stack.high` all memory is mapped.
    #[inline]
    pub unsafe fn walk(
        &self,
        registers: Registers,
        stack: StackBounds,
        max_frames: usize,
        sink: &mut impl FnMut(u64) -> bool,
    ) -> StackEnd {
        // SAFETY: the walk reads only aligned words between the two bounds, not below the stack pointer less the red
        // zone; the caller promises that this memory is mapped.
        let read = |address| unsafe { read_word(address) };
        let source = Source { rule_at: |address| self.rule_at(address), rules: self.rules(), read };
        walk::<Native>(registers, stack, max_frames, &source, sink)
    }
}

/// Reads a word of the calling thread's stack.
///
/// The load is written as an instruction, because for the compiler it has no meaning: it reads what other frames, of any
/// language, have put there. Address sanitizers do not instrument it either.
///
/// # Safety
///
/// `address` is a multiple of 8 and the 8 bytes there are mapped and readable.
#[inline(always)]
pub(super) unsafe fn read_word(address: u64) -> u64 {
    let word: u64;
    // SAFETY: the caller promises that the memory can be read; the instruction changes nothing but its output.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!("mov {word}, [{address}]", address = in(reg) address, word = lateout(reg) word,
            options(readonly, nostack, preserves_flags));
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!("ldr {word}, [{address}]", address = in(reg) address, word = lateout(reg) word,
            options(readonly, nostack, preserves_flags));
    }
    // SAFETY: as above; a volatile read is the nearest that other architectures have here.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    unsafe {
        word = std::ptr::read_volatile(address as usize as *const u64);
    }
    word
}
