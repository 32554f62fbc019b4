//! `capture`: the one door by which a sample gets into a thread's ring.
//!
//! A sample is a record of words in the ring of the thread it was taken on:
//!
//! | word | content |
//! |---|---|
//! | the ring's tag | [`SampleHead`]: kind, how the stack ended, what follows |
//! | 0 | weight in periods (low half), generation of the unwind tables (high half) |
//! | 1-6 | the span context, if there is one ([`crate::context::context_of_words`]) |
//! | then 1 | region (low half) and label set (high half), if there is one ([`Block::scope_word`]) |
//! | then | the addresses, leaf first |
//!
//! The unwinder writes each address straight into the ring, so that the handler's own stack frame stays small.

#![allow(unsafe_code)] // the door to the interrupted thread's stack

use super::run::InHandler;
use crate::collector::StackEnd;
use crate::context::{RECORD_WORDS, Record};
use crate::thread::Block;
use crate::unwind::{Registers, StackBounds};

/// The most frames of a stack that are recorded.
pub(crate) const FRAMES: usize = 128;

/// The most words of a sample: weight, context, scope, addresses.
const MAX_WORDS: usize = 1 + RECORD_WORDS + 1 + FRAMES;

/// What a sample counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// CPU time, in periods.
    Cpu = 1,
    /// Where a thread without a timer was; how much CPU time that stands for its clock says, see `shared`.
    SharedCpu = 2,
}

/// What a sample is, as the tag of its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SampleHead {
    pub(crate) kind: u8,
    pub(crate) end: StackEnd,
    /// Whether a span context follows, and whether region and labels do.
    pub(crate) has_context: bool,
    pub(crate) has_scope: bool,
    /// The run of the sampler that it belongs to, without its upper half: a handler that was kept from running while its
    /// run ended must not count in the next.
    pub(crate) run: u8,
}

impl SampleHead {
    pub(crate) const fn to_tag(self) -> u32 {
        let follows = self.has_context as u8 | (self.has_scope as u8) << 1;
        u32::from_le_bytes([self.kind, self.end as u8, follows, self.run])
    }

    pub(crate) const fn from_tag(tag: u32) -> Self {
        let [kind, end, follows, run] = tag.to_le_bytes();
        let (has_context, has_scope) = (follows & 1 != 0, follows & 2 != 0);
        Self { kind, end: StackEnd::from_u8(end), has_context, has_scope, run }
    }
}

/// Takes a sample of the calling thread, which was at `registers`, into its own ring.
///
/// Runs in a signal handler. No step allocates, locks, makes a system call, touches thread-local storage or panics: the
/// ring's operations are bounded atomics, the record is atomics in memory that is never unmapped, the tables are pinned
/// by the guard while in use, and the unwinder reads only between the bounds of the thread's own stack. The only loop is
/// the unwinder's, and ends after [`FRAMES`] frames.
#[inline]
pub(crate) fn capture(
    handler: &InHandler,
    block: &'static Block,
    kind: Kind,
    weight: u64,
    registers: Registers,
) {
    let Some(mut sample) = block.ring.reserve(MAX_WORDS) else {
        // The ring is full: the loss is counted in the ring with its weight, and exported as a sample of its own.
        return block.ring.count_dropped(kind as usize, weight);
    };
    sample.push(0); // filled in below, when the generation is known
    let context = block.current().get().map(Record::words);
    for word in context.iter().flatten() {
        sample.push(*word);
    }
    let scope = block.scope_word();
    if scope != 0 {
        sample.push(scope);
    }
    let stack = block.stack();
    let stack = StackBounds { low: stack.start, high: stack.end };
    let mut put = |address: u64| sample.push(address);
    let (generation, end) = match handler.tables() {
        Some(tables) => {
            // SAFETY: the registers are those of the thread that the handler runs on, and the block is that thread's: a
            // block goes to another thread only when its own has left the task list or its timers' run is over. The bounds came from the C library or
            // the kernel; the kernel keeps a stack mapped from the stack pointer up to its top. A stack pointer that is not
            // between the bounds is not walked from.
            let end = unsafe { tables.walk(registers, stack, FRAMES, &mut put) };
            (tables.generation(), end)
        }
        None => {
            put(registers.pc);
            (0, StackEnd::NotReady)
        }
    };
    sample.set(0, weight.min(u64::from(u32::MAX)) | u64::from(generation) << 32);
    let run = handler.run().to_u8();
    let (has_context, has_scope) = (context.is_some(), scope != 0);
    sample.commit(SampleHead { kind: kind as u8, end, has_context, has_scope, run }.to_tag());
}
