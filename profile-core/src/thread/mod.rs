//! What the profiler keeps for each thread: the block, where blocks live, who has one, and the span stack in it.
//!
//! A thread gets a block when it first enters a span (it registers itself) or when the scan of the task list finds it,
//! whichever comes first. A block is named by a number, which travels in the cookie of the thread's timer, so that the
//! signal handler needs no thread-local storage. Blocks are never unmapped; one is used again only after its thread has
//! vanished from the kernel's task list, when no signal can reach it any more.

mod arena;
mod block;
mod current;
mod registry;

pub(crate) use arena::{BlockIndex, blocks};
pub(crate) use block::{Block, Life, Ticker};
pub(crate) use current::{
    enter, exit, innermost, labels, region, restore_labels, restore_region, set_labels, set_region,
};
pub(crate) use registry::{
    OnThread, adopt, end, forget, is_ready, is_replaced, is_same, is_sampled, set_hook, set_sampled,
};
