//! What differs between architectures, as constants and pure functions.
//!
//! Both architectures are compiled and tested on every host; only reading the signal context is under `cfg` (see
//! `context`).

mod aarch64;
mod x86_64;

#[cfg_attr(target_arch = "x86_64", allow(unused_imports))]
pub(super) use aarch64::Aarch64;
#[cfg_attr(target_arch = "aarch64", allow(unused_imports))]
pub(super) use x86_64::X86_64;

use gimli::{Register, Vendor};

/// The architecture this process runs on.
#[cfg(not(target_arch = "aarch64"))]
pub(super) type Native = X86_64;
/// The architecture this process runs on.
#[cfg(target_arch = "aarch64")]
pub(super) type Native = Aarch64;

/// The registers that a walk follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// The instruction pointer.
    pub pc: u64,
    /// The stack pointer.
    pub sp: u64,
    /// The frame pointer: `rbp`, or `x29`.
    pub fp: u64,
    /// The link register `x30`; 0 where the architecture has none.
    pub lr: u64,
}

/// Where a signal trampoline finds the interrupted registers: offsets in bytes from its stack pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SignalFrame {
    pub(super) pc: u64,
    pub(super) sp: u64,
    pub(super) fp: u64,
    pub(super) lr: Option<u64>,
}

/// One instruction set with the Linux ABI on it.
pub(super) trait Architecture {
    /// DWARF's number of the stack pointer.
    const STACK_POINTER: Register;
    /// DWARF's number of the frame pointer.
    const FRAME_POINTER: Register;
    /// DWARF's number of the column that holds the return address.
    const RETURN_ADDRESS: Register;
    /// DWARF's number of the program counter, where expressions name it.
    const PROGRAM_COUNTER: Option<Register>;
    /// Whose extensions of the CFI instructions apply.
    const VENDOR: Vendor;
    /// Whether a call leaves the return address in a register, so that a leaf function need not save it.
    const LINK_REGISTER: bool;
    /// How far below the stack pointer a function may keep data, in bytes.
    const RED_ZONE: u64;
    /// How many low bits of an instruction's address are always zero.
    const ALIGNMENT_BITS: u32;
    /// Code lies below this address.
    const CODE_END: u64;
    /// The stack of a signal trampoline.
    const SIGNAL_FRAME: SignalFrame;

    /// Where prologues save the return address, in bytes below the CFA, given that they save the frame pointer
    /// `fp_slot` bytes below it (0: not at all); `None` if it is still in its register.
    ///
    /// This is what [compact rules](super::rule::CompactRule) take for granted; other places need other rules.
    fn return_slot(fp_slot: u16) -> Option<u16>;

    /// The address in a saved return address, without what the hardware may have mixed into it.
    fn code_address(saved: u64) -> u64;
}
