//! Where the blocks live: chunks of zeroed memory, touched page by page as it is used, never given back.
#![allow(unsafe_code)] // the door to the thread blocks' memory

use super::Block;
use std::alloc::{Layout, alloc_zeroed};
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

/// The number of a block; numbers start at 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BlockIndex(u32);

const CHUNK: usize = 64;
/// The most threads that can have a block at once: 16,384. Threads beyond that are not sampled, and counted.
const CHUNKS: usize = 256;
// A number is half of what a timer's cookie has room for.
const _: () = assert!(CHUNK * CHUNKS <= 1 << 16);

static CHUNK_TABLE: [AtomicPtr<Block>; CHUNKS] = [const { AtomicPtr::new(std::ptr::null_mut()) }; CHUNKS];
/// Blocks handed out so far.
static USED: AtomicU32 = AtomicU32::new(0);

impl BlockIndex {
    /// A block that no thread has had yet; `None` when all are in use or memory is out. Callers hold the registry's lock.
    pub(super) fn fresh() -> Option<Self> {
        let index = USED.load(Ordering::Relaxed);
        let chunk = CHUNK_TABLE.get(index as usize / CHUNK)?;
        if chunk.load(Ordering::Acquire).is_null() {
            let layout = Layout::array::<Block>(CHUNK).ok()?;
            // SAFETY: the layout is not empty. Zeroed, because that is a valid Block and leaves its pages untouched.
            let memory = unsafe { alloc_zeroed(layout) };
            if memory.is_null() {
                return None;
            }
            chunk.store(memory.cast(), Ordering::Release);
        }
        USED.store(index + 1, Ordering::Release);
        Some(Self(index))
    }

    /// A number that names no block.
    #[cfg(test)]
    pub(crate) const fn of_no_thread(number: u32) -> Self {
        Self(u32::MAX - number)
    }

    /// The number, for a timer's cookie.
    pub(crate) const fn to_u32(self) -> u32 {
        self.0
    }

    /// The block numbered `number`, if there is one. Safe in a signal handler: two loads and a bounds check.
    #[inline]
    pub(crate) fn from_u32(number: u32) -> Option<Self> {
        (number < USED.load(Ordering::Acquire)).then_some(Self(number))
    }

    /// The block.
    #[inline]
    pub(crate) fn get(self) -> Option<&'static Block> {
        let chunk = CHUNK_TABLE.get(self.0 as usize / CHUNK)?.load(Ordering::Acquire);
        // SAFETY: a chunk that is not null holds CHUNK blocks of zeroed, never freed memory. All zero is a valid Block: it
        // consists of atomic integers only, and so does its ring. Shared references are all that ever exists.
        (!chunk.is_null()).then(|| unsafe { &*chunk.add(self.0 as usize % CHUNK) })
    }
}

/// All blocks handed out so far, whether in use or not.
pub(crate) fn blocks() -> impl Iterator<Item = (BlockIndex, &'static Block)> {
    let used = USED.load(Ordering::Acquire);
    (0..used).map(BlockIndex).filter_map(|index| Some((index, index.get()?)))
}
