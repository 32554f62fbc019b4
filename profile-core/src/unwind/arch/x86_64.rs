//! x86-64 with the System V ABI on Linux.

use super::{Architecture, SignalFrame};
use gimli::{Register, Vendor, X86_64 as Dwarf};

/// The 64-bit x86 architecture.
#[derive(Clone, Copy, Debug)]
pub(in crate::unwind) struct X86_64;

impl Architecture for X86_64 {
    const STACK_POINTER: Register = Dwarf::RSP;
    const FRAME_POINTER: Register = Dwarf::RBP;
    const RETURN_ADDRESS: Register = Dwarf::RA;
    const PROGRAM_COUNTER: Option<Register> = Some(Dwarf::RA);
    const VENDOR: Vendor = Vendor::Default;
    const LINK_REGISTER: bool = false;
    const RED_ZONE: u64 = 128;
    const ALIGNMENT_BITS: u32 = 0;
    const CODE_END: u64 = 1 << 47;

    // The kernel's `struct rt_sigframe` after the handler's `ret` has popped its first word: a `ucontext_t`, whose
    // `gregs` start at 40. Indices of the registers in it: RBP 10, RSP 15, RIP 16.
    const SIGNAL_FRAME: SignalFrame =
        SignalFrame { pc: 40 + 16 * 8, sp: 40 + 15 * 8, fp: 40 + 10 * 8, lr: None };

    /// The call has pushed it.
    #[inline]
    fn return_slot(_fp_slot: u16) -> Option<u16> {
        Some(8)
    }

    #[inline]
    fn code_address(saved: u64) -> u64 {
        saved
    }
}

#[cfg(all(test, target_arch = "x86_64", target_os = "linux"))]
mod tests {
    use super::*;
    use std::mem::offset_of;

    #[test]
    fn the_signal_frame_is_that_of_the_c_library() {
        let register = |index: i32| (offset_of!(libc::ucontext_t, uc_mcontext) + index as usize * 8) as u64;
        assert_eq!(X86_64::SIGNAL_FRAME.pc, register(libc::REG_RIP));
        assert_eq!(X86_64::SIGNAL_FRAME.sp, register(libc::REG_RSP));
        assert_eq!(X86_64::SIGNAL_FRAME.fp, register(libc::REG_RBP));
    }
}
