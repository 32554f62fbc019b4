//! The 64-bit Arm architecture with the AAPCS64 on Linux. Unverified until it runs on such a machine.

use super::{Architecture, SignalFrame};
use gimli::{AArch64 as Dwarf, Register, Vendor};

/// The 64-bit Arm architecture.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(target_arch = "aarch64"), allow(dead_code))]
pub(in crate::unwind) struct Aarch64;

/// Where `regs[0]` of the interrupted thread lies: the kernel's `struct rt_sigframe` is a `siginfo_t` (128 bytes) and
/// a `ucontext`, in which the 16-byte aligned `sigcontext` starts at 176 with the fault address.
const FIRST_REGISTER: u64 = 128 + 176 + 8;

impl Architecture for Aarch64 {
    const STACK_POINTER: Register = Dwarf::SP;
    const FRAME_POINTER: Register = Dwarf::X29;
    const RETURN_ADDRESS: Register = Dwarf::X30;
    const PROGRAM_COUNTER: Option<Register> = None;
    const VENDOR: Vendor = Vendor::AArch64;
    const LINK_REGISTER: bool = true;
    const RED_ZONE: u64 = 0;
    const ALIGNMENT_BITS: u32 = 2;
    const CODE_END: u64 = 1 << 48;

    const SIGNAL_FRAME: SignalFrame = SignalFrame {
        pc: FIRST_REGISTER + 32 * 8,
        sp: FIRST_REGISTER + 31 * 8,
        fp: FIRST_REGISTER + 29 * 8,
        lr: Some(FIRST_REGISTER + 30 * 8),
    };

    /// The two are saved side by side, as a frame record.
    #[inline]
    fn return_slot(fp_slot: u16) -> Option<u16> {
        fp_slot.checked_sub(8)
    }

    /// Pointer authentication keeps its code in the bits above the 48 of a user-space address.
    #[inline]
    fn code_address(saved: u64) -> u64 {
        saved & (Self::CODE_END - 1)
    }
}
