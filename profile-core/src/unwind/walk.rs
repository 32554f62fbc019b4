//! The walk from the interrupted instruction to the outermost frame.
//!
//! Safe code over three things: a register set, both bounds of the thread's own stack, and a door that reads a word.
//! Whatever the rules say, three facts hold:
//!
//! * **No read outside the stack.** Every address is checked to be aligned and to lie between the stack pointer (less
//!   the red zone) and the upper bound, and above the lower bound. So no page needs probing.
//! * **It ends.** The stack pointer strictly grows from frame to frame, and the caller says how many frames it takes.
//!   (On architectures with a link register one leaf may leave it as it is, for the link register holds one address.)
//! * **The end has a reason.** A rule that leads out of the stack, or that cannot be followed, ends the stack with it.
//!
//! All of it runs in the signal handler: no allocation, no lock, no system call, no panic, loops bounded as above.

use super::arch::{Architecture, Registers};
use super::rule::{Cfa, CompactRule, Rule, RuleId, RuleTable, Saved};
use crate::collector::StackEnd;

/// The stack of a thread: addresses from `low` up to, not including, `high`. The guard page is not part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackBounds {
    /// The lowest address of the stack.
    pub low: u64,
    /// The first address above the stack.
    pub high: u64,
}

/// No code lies below this address: the kernel maps nothing there (`vm.mmap_min_addr`).
const FIRST_CODE: u64 = 4096;

/// Walks from `start`, leaf first, and gives every frame's lookup address to `sink`: the very instruction in the leaf
/// and in a frame that a signal interrupted, the return address less one in callers, so that it lies in the call.
///
/// Ends as truncated after `max_frames` frames, or when `sink` answers `false`.
pub(super) fn walk<A: Architecture>(
    start: Registers,
    stack: StackBounds,
    max_frames: usize,
    source: &Source<'_, impl Fn(u64) -> RuleId, impl Fn(u64) -> u64>,
    sink: &mut impl FnMut(u64) -> bool,
) -> StackEnd {
    let mut frame = Frame { registers: start, exact: true, link_register: A::LINK_REGISTER };
    for _ in 0..max_frames {
        let address = frame.registers.pc.wrapping_sub(u64::from(!frame.exact));
        if !sink(address) {
            return StackEnd::Truncated;
        }
        if frame.registers.sp < stack.low || frame.registers.sp > stack.high {
            return StackEnd::LeftStack;
        }
        let memory = Memory { stack, floor: frame.floor::<A>(), read: &source.read };
        let id = (source.rule_at)(address);
        let caller = match CompactRule::from_id(id) {
            Some(rule) => frame.caller_by_compact_rule::<A>(rule, &memory),
            None => frame.caller_by_rule::<A>(source.rules.get(id), &source.rule_at, &memory),
        };
        frame = match caller {
            Ok(caller) => caller,
            Err(end) => return end,
        };
    }
    StackEnd::Truncated
}

/// Where rules and words come from.
pub(super) struct Source<'a, R, M> {
    /// The id of the rule of the instruction at an address.
    pub(super) rule_at: R,
    /// What the ids mean.
    pub(super) rules: &'a RuleTable,
    /// The word at an address, which lies between the bounds and is a multiple of 8.
    pub(super) read: M,
}

/// One frame.
#[derive(Clone, Copy)]
struct Frame {
    registers: Registers,
    /// Whether `pc` is the very instruction, not a return address.
    exact: bool,
    /// Whether the link register still holds this frame's own return address.
    link_register: bool,
}

impl Frame {
    /// The lowest address at which this frame may have saved something.
    #[inline]
    fn floor<A: Architecture>(&self) -> u64 {
        self.registers.sp.saturating_sub(A::RED_ZONE)
    }

    /// Most frames by far: everything that is needed is in `rule`.
    #[inline]
    fn caller_by_compact_rule<A: Architecture>(
        self,
        rule: CompactRule,
        memory: &Memory<impl Fn(u64) -> u64>,
    ) -> Result<Self, StackEnd> {
        let CompactRule { from_fp, cfa, fp_slot } = rule;
        let base = if from_fp { self.registers.fp } else { self.registers.sp };
        let sp = base.wrapping_add(u64::from(cfa));
        let saved = |slot: u16| memory.word(sp.wrapping_sub(u64::from(slot)));
        let fp = if fp_slot == 0 { self.registers.fp } else { saved(fp_slot)? };
        let slot = A::return_slot(fp_slot);
        let pc = match slot {
            Some(slot) => saved(slot)?,
            None if self.link_register => self.registers.lr,
            None => return Err(StackEnd::NoRule), // only a leaf still has its return address in a register
        };
        self.moved::<A>(Registers { pc, sp, fp, lr: 0 }, slot.is_none(), memory.stack)
    }

    fn caller_by_rule<A: Architecture>(
        self,
        rule: Rule,
        rule_at: &impl Fn(u64) -> RuleId,
        memory: &Memory<impl Fn(u64) -> u64>,
    ) -> Result<Self, StackEnd> {
        match rule {
            Rule::Frame { cfa, return_address, frame_pointer } => {
                let cfa = self.cfa(cfa, memory)?;
                let fp = self.saved(frame_pointer, self.registers.fp, cfa, memory)?;
                let from_register = return_address == Saved::Unchanged;
                if from_register && !self.link_register {
                    return Err(StackEnd::NoRule); // only a leaf still has its return address in a register
                }
                let pc = self.saved(return_address, self.registers.lr, cfa, memory)?;
                self.moved::<A>(Registers { pc, sp: cfa, fp, lr: 0 }, from_register, memory.stack)
            }
            Rule::NoCfi => match self.caller_of_stub::<A>(rule_at, memory) {
                Some(caller) => Ok(caller),
                None => self.caller_by_frame_pointer::<A>(memory),
            },
            Rule::Plt { pushed_at } => {
                let pushed = self.registers.pc & 15 >= u64::from(pushed_at);
                let cfa = self.registers.sp.wrapping_add(if pushed { 16 } else { 8 });
                let pc = memory.word(cfa.wrapping_sub(8))?;
                self.moved::<A>(Registers { pc, sp: cfa, ..self.registers }, false, memory.stack)
            }
            Rule::SignalFrame => self.interrupted::<A>(memory),
            Rule::Outermost => Err(StackEnd::Complete),
            Rule::Unsupported => Err(StackEnd::NoRule),
        }
    }

    #[inline]
    fn cfa(&self, cfa: Cfa, memory: &Memory<impl Fn(u64) -> u64>) -> Result<u64, StackEnd> {
        match cfa {
            Cfa::Sp(offset) => Ok(add(self.registers.sp, offset)),
            Cfa::Fp(offset) => Ok(add(self.registers.fp, offset)),
            Cfa::AtFp(offset) => memory.word(add(self.registers.fp, offset)),
        }
    }

    #[inline]
    fn saved(
        &self,
        place: Saved,
        unchanged: u64,
        cfa: u64,
        memory: &Memory<impl Fn(u64) -> u64>,
    ) -> Result<u64, StackEnd> {
        match place {
            Saved::Unchanged => Ok(unchanged),
            Saved::AtCfa(offset) => memory.word(add(cfa, offset)),
            Saved::AtFp(offset) => memory.word(add(self.registers.fp, offset)),
            // No stack holds address 0: whoever needs the lost value ends the walk.
            Saved::Lost => Ok(0),
        }
    }

    /// Takes the return address from where a call has put it, if the interrupted code has no call frame information and
    /// what lies there is an address of code that has: linkers describe neither the stubs through which a module calls
    /// another (lld) nor those that extend a branch's range, and small assembly functions touch no stack.
    fn caller_of_stub<A: Architecture>(
        self,
        rule_at: &impl Fn(u64) -> RuleId,
        memory: &Memory<impl Fn(u64) -> u64>,
    ) -> Option<Self> {
        if !self.exact {
            return None;
        }
        let Registers { sp, lr, .. } = self.registers;
        let (pc, sp) =
            if self.link_register { (lr, sp) } else { (memory.word(sp).ok()?, sp.wrapping_add(8)) };
        let caller =
            self.moved::<A>(Registers { pc, sp, ..self.registers }, self.link_register, memory.stack).ok()?;
        (rule_at(caller.registers.pc.wrapping_sub(1)) != RuleId::NO_CFI).then_some(caller)
    }

    /// Follows the frame pointer, for code that has no call frame information (hand-written assembly, code compiled at
    /// run time). Both architectures keep the caller's frame pointer and the return address side by side.
    fn caller_by_frame_pointer<A: Architecture>(
        self,
        memory: &Memory<impl Fn(u64) -> u64>,
    ) -> Result<Self, StackEnd> {
        let fp = self.registers.fp;
        if fp == 0 && !self.exact {
            // The ABIs mark the deepest frame by a frame pointer of zero. Code that has called something and has no
            // CFI is the start code of a thread in C libraries that do not describe it.
            return Err(StackEnd::Complete);
        }
        if fp < self.registers.sp || fp >= memory.stack.high {
            return Err(StackEnd::NoRule);
        }
        let caller = Registers {
            pc: memory.word(fp.wrapping_add(8))?,
            sp: fp.wrapping_add(16),
            fp: memory.word(fp)?,
            lr: 0,
        };
        self.moved::<A>(caller, false, memory.stack)
    }

    /// The caller with the given registers, if it can be one: its frame must lie above this one.
    #[inline]
    fn moved<A: Architecture>(
        self,
        to: Registers,
        from_register: bool,
        stack: StackBounds,
    ) -> Result<Self, StackEnd> {
        let grown = to.sp > self.registers.sp || (from_register && to.sp == self.registers.sp);
        if !grown || to.sp > stack.high || !to.sp.is_multiple_of(8) {
            return Err(StackEnd::LeftStack);
        }
        let registers = Registers { pc: checked_pc::<A>(to.pc)?, lr: 0, ..to };
        Ok(Self { registers, exact: false, link_register: false })
    }

    /// The frame that a signal interrupted, from the context that the kernel put on the stack.
    fn interrupted<A: Architecture>(self, memory: &Memory<impl Fn(u64) -> u64>) -> Result<Self, StackEnd> {
        let layout = A::SIGNAL_FRAME;
        let register = |offset: u64| memory.word(self.registers.sp.wrapping_add(offset));
        let (pc, sp, fp) = (register(layout.pc)?, register(layout.sp)?, register(layout.fp)?);
        let lr = layout.lr.map_or(Ok(0), register)?;
        if sp <= self.registers.sp || sp > memory.stack.high {
            return Err(StackEnd::LeftStack); // the handler ran on an alternate stack
        }
        let pc = checked_pc::<A>(pc)?;
        Ok(Self { registers: Registers { pc, sp, fp, lr }, exact: true, link_register: A::LINK_REGISTER })
    }
}

/// The address of code in a saved program counter. Zero marks the end of the stack.
#[inline]
fn checked_pc<A: Architecture>(saved: u64) -> Result<u64, StackEnd> {
    match A::code_address(saved) {
        0 => Err(StackEnd::Complete),
        pc if (FIRST_CODE..A::CODE_END).contains(&pc) => Ok(pc),
        _ => Err(StackEnd::NoRule),
    }
}

#[inline]
fn add(base: u64, offset: i32) -> u64 {
    base.wrapping_add_signed(i64::from(offset))
}

/// The part of the stack that a frame may read.
struct Memory<'a, M> {
    stack: StackBounds,
    floor: u64,
    read: &'a M,
}

impl<M: Fn(u64) -> u64> Memory<'_, M> {
    /// The word at `address`, if all of it may be read.
    #[inline]
    fn word(&self, address: u64) -> Result<u64, StackEnd> {
        let inside = address >= self.floor.max(self.stack.low)
            && self.stack.high.checked_sub(8).is_some_and(|last| address <= last);
        if inside && address.is_multiple_of(8) { Ok((self.read)(address)) } else { Err(StackEnd::LeftStack) }
    }
}

#[cfg(test)]
#[cfg(not(loom))] // whose build has no dev-dependencies
mod tests;
