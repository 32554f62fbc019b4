//! Who has a block.
//!
//! Two parties hand out blocks: a thread itself, when it first enters a span, and the collector's scan of the task list.
//! They meet under one lock, so a thread has one block and one timer, whoever comes first. Thread ids are reused by the
//! kernel. A thread that registered itself says when it ends, by a destructor; one found by the scan is told from a
//! later thread of the same id by its start time.

use super::{Block, BlockIndex, Life, Ticker, blocks};
use crate::sys::{process, stack, task};
use hashbrown::HashMap;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// What the sampler does with a thread that is new, or about to end. Called on that thread or on the collector's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OnThread {
    /// The thread has a block: give it a timer if one is wanted.
    pub(crate) begins: fn(BlockIndex, &'static Block),
    /// The thread ends: take its timer away. Answers whether somebody will still empty its ring.
    pub(crate) ends: fn(&'static Block) -> bool,
    /// The process is a forked child: give up what was inherited. It must not allocate or take a lock.
    pub(crate) forked: fn(),
}

#[derive(Default)]
struct Registry {
    by_tid: HashMap<i32, BlockIndex>,
    free: Vec<BlockIndex>,
}

static HOOK: OnceLock<OnThread> = OnceLock::new();
static IS_SAMPLED: AtomicBool = AtomicBool::new(false);
/// One registry for each depth of forks: a child starts over with one of its own, whoever held the lock at the fork.
static REGISTRIES: [OnceLock<Mutex<Registry>>; process::MAX_FORKS] =
    [const { OnceLock::new() }; process::MAX_FORKS];
/// In a forked child: the block of the thread that forked, which is the only one that lives on.
static SURVIVOR: AtomicPtr<Block> = AtomicPtr::new(std::ptr::null_mut());

thread_local! {
    /// This thread's block. Neither has a destructor, so both can be read at any time, also while the thread ends.
    static OWN: Cell<Option<&'static Block>> = const { Cell::new(None) };
    static ENDED: Cell<bool> = const { Cell::new(false) };
    static AT_EXIT: AtExit = const { AtExit };
}

struct AtExit;

/// Sets what happens to threads that come and go; the first call counts. From then on forked children are prepared for.
pub(crate) fn set_hook(hook: OnThread) {
    HOOK.get_or_init(|| hook);
    process::set_in_child(in_child);
    process::watch_forks();
}

/// In a forked child, on its one thread. The registry is set up when somebody asks for it: most children never do.
fn in_child() {
    if let Some(hook) = HOOK.get() {
        (hook.forked)();
    }
    // Timers are not inherited, and the files of events have been given up.
    blocks()
        .filter(|(_, block)| matches!(block.ticker(), Some(Ticker::Event(_))))
        .for_each(|(_, block)| block.set_timer(None));
    let own = OWN.get();
    if let Some(block) = own {
        block.survive_fork(task::current());
    }
    SURVIVOR.store(
        own.map_or(std::ptr::null_mut(), |block| std::ptr::from_ref(block).cast_mut()),
        Ordering::Relaxed,
    );
}

/// The calling thread's block; made when the thread has none yet. `None` while the thread is ending, or when there are
/// no blocks left.
#[inline]
pub(super) fn own() -> Option<&'static Block> {
    OWN.get().or_else(register)
}

/// The same for those who have something to say only while samples are taken: no block is made before.
#[inline]
pub(super) fn own_if_sampled() -> Option<&'static Block> {
    OWN.get().or_else(register_if_sampled)
}

#[cold]
#[inline(never)]
fn register_if_sampled() -> Option<&'static Block> {
    if is_sampled() { register() } else { None }
}

/// Whether samples are being taken in this process, or were when it was forked.
#[inline]
pub(crate) fn is_sampled() -> bool {
    IS_SAMPLED.load(Ordering::Relaxed)
}

/// Says whether samples are being taken.
pub(crate) fn set_sampled(is_sampled: bool) {
    IS_SAMPLED.store(is_sampled, Ordering::Relaxed);
}

/// The calling thread's block if it has one.
#[inline]
pub(super) fn own_if_any() -> Option<&'static Block> {
    OWN.get()
}

#[cold]
#[inline(never)]
fn register() -> Option<&'static Block> {
    if ENDED.get() {
        return None;
    }
    // Makes the destructor run when the thread ends. Fails only while it is ending already.
    AT_EXIT.try_with(|_| ()).ok()?;
    let tid = task::current();
    let bounds = stack::of_this_thread();
    let (index, block) = {
        let mut registry = lock()?;
        let found = registry.by_tid.get(&tid).copied().filter(|found| is_still(*found, tid));
        if let Some((index, block)) = found.and_then(|index| Some((index, index.get()?))) {
            block.adopt();
            block.set_stack(bounds.unwrap_or(0..0));
            (index, block)
        } else {
            registry.begin(tid, 0, bounds)?
        }
    };
    OWN.set(Some(block));
    begins(index, block);
    Some(block)
}

/// Gives a thread found by the scan a block, unless it has one.
pub(crate) fn adopt(tid: i32) {
    let Some(start_time) = task::start_time(tid) else { return };
    // In a forked child the first thread may be on another stack; its first sample finds out.
    let bounds = if tid == process::id() { stack::of_main_thread() } else { None };
    let begun = {
        let Some(mut registry) = lock() else { return };
        if registry.by_tid.get(&tid).is_some_and(|found| is_still(*found, tid)) {
            return;
        }
        registry.begin(tid, start_time, bounds)
    };
    if let Some((index, block)) = begun {
        begins(index, block);
    }
}

/// Whether the thread that the block was made for still exists, and is not a later one of the same id.
pub(crate) fn is_same(block: &Block) -> bool {
    match block.start_time() {
        0 => true, // it registered itself and will say when it ends
        known => task::start_time(block.tid()) == Some(known),
    }
}

/// Whether blocks can be had: not in a process that is too many forks deep. In a forked child, frees what was inherited.
pub(crate) fn is_ready() -> bool {
    lock().is_some()
}

/// Whether another block has been made for the id of this block's thread: then that thread is gone.
pub(crate) fn is_replaced(index: BlockIndex, block: &Block) -> bool {
    lock().is_none_or(|registry| registry.by_tid.get(&block.tid()).is_some_and(|other| *other != index))
}

/// Notes that the block's thread is gone: a later thread of the same id gets another block from now on.
pub(crate) fn end(index: BlockIndex, block: &'static Block) {
    let Some(mut registry) = lock() else { return };
    registry.remove(index, block);
    block.set_life(Life::Ended);
}

/// Takes a block back whose thread has [ended](end). Its ring is empty.
pub(crate) fn forget(index: BlockIndex, block: &'static Block) {
    let Some(mut registry) = lock() else { return };
    registry.remove(index, block);
    registry.release(index, block);
}

/// Whether the block still belongs to the thread that `tid` names now.
fn is_still(index: BlockIndex, tid: i32) -> bool {
    let Some(block) = index.get() else { return false };
    let same = block.tid() == tid && is_same(block);
    if !same {
        block.set_life(Life::Ended);
    }
    same && block.life() == Life::Live
}

impl Registry {
    /// The registry of a forked child: the thread that forked has its block and the spans that it is in, all other blocks
    /// are free. Nothing of them is in use: their threads, and whoever was emptying their rings, are the parent's.
    fn inherited() -> Self {
        let mut registry = Self::default();
        if process::forks() == 0 {
            return registry;
        }
        let survivor = SURVIVOR.load(Ordering::Relaxed);
        for (index, block) in blocks() {
            block.ring.forget_consumer();
            if std::ptr::eq(block, survivor) && block.life() == Life::Live {
                registry.by_tid.insert(block.tid(), index);
                empty(block);
            } else {
                block.set_timer(None); // not inherited
                registry.release(index, block);
            }
        }
        registry
    }

    fn remove(&mut self, index: BlockIndex, block: &Block) {
        if self.by_tid.get(&block.tid()) == Some(&index) {
            self.by_tid.remove(&block.tid());
        }
    }

    /// Frees the block of a thread that has ended, unless it has a timer or somebody is just giving it one: then it waits for
    /// the next scan.
    fn release(&mut self, index: BlockIndex, block: &Block) {
        block.set_life(Life::Ended);
        if block.claim_timer() {
            block.set_timer(None);
            empty(block);
            block.set_life(Life::Free);
            self.free.push(index);
        }
    }

    fn begin(
        &mut self,
        tid: i32,
        start_time: u64,
        bounds: Option<std::ops::Range<u64>>,
    ) -> Option<(BlockIndex, &'static Block)> {
        let index = self.free.pop().or_else(BlockIndex::fresh)?;
        let block = index.get()?;
        block.begin(tid, start_time, bounds);
        self.by_tid.insert(tid, index);
        Some((index, block))
    }
}

fn begins(index: BlockIndex, block: &'static Block) {
    if let Some(hook) = HOOK.get() {
        (hook.begins)(index, block);
    }
}

/// `None` in a process that is too many forks deep to be profiled.
fn lock() -> Option<MutexGuard<'static, Registry>> {
    let registry =
        REGISTRIES.get(process::forks() as usize)?.get_or_init(|| Mutex::new(Registry::inherited()));
    Some(registry.lock().unwrap_or_else(PoisonError::into_inner))
}

fn empty(block: &Block) {
    if let Some(mut ring) = block.ring.consumer() {
        let _emptied_before = ring.reset();
    }
}

impl Drop for AtExit {
    fn drop(&mut self) {
        ENDED.set(true);
        let Some(block) = OWN.take() else { return };
        // Published spans would outlive the thread's own destructors; the last samples of an ending thread are its own.
        block.forget_published();
        block.set_life(Life::Ended);
        let is_collected = HOOK.get().is_some_and(|hook| (hook.ends)(block));
        // In a forked child that has not asked for a registry, none is set up for this.
        let registry = REGISTRIES.get(process::forks() as usize).and_then(OnceLock::get);
        if let (false, Some(registry)) = (is_collected, registry) {
            let mut registry = registry.lock().unwrap_or_else(PoisonError::into_inner);
            // Nothing is being sampled, so no scan will come by: threads that come and go would use all blocks up.
            if let Some(index) = registry.by_tid.remove(&block.tid()) {
                registry.release(index, block);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::RecordIndex;
    use crate::thread::enter;
    use std::sync::mpsc;

    /// Runs `check` with the id of a thread that waits, and `last` on that thread afterwards.
    fn beside_a_thread(check: impl FnOnce(i32), last: impl FnOnce() + Send) {
        std::thread::scope(|scope| {
            let (told, tid) = mpsc::channel();
            let (go, wait) = mpsc::channel::<()>();
            scope.spawn(move || {
                told.send(task::current()).unwrap();
                wait.recv().unwrap();
                last();
            });
            check(tid.recv().unwrap());
            go.send(()).unwrap();
        });
    }

    fn blocks_of(tid: i32) -> Vec<(BlockIndex, Life)> {
        let of = |(_, block): &(BlockIndex, &'static Block)| block.tid() == tid && block.life() != Life::Free;
        blocks().filter(of).map(|(index, block)| (index, block.life())).collect()
    }

    #[test]
    fn a_thread_has_one_block_whoever_registers_it_first() {
        let found = Cell::new(None);
        let (sent, own_block) = mpsc::channel();
        beside_a_thread(
            |tid| {
                adopt(tid);
                adopt(tid);
                let all = blocks_of(tid);
                assert_eq!(all.len(), 1, "{all:?}");
                found.set(Some(all[0].0));
            },
            move || {
                enter(1, RecordIndex::from_u32(1));
                let block = own().unwrap();
                assert!(!block.stack().is_empty() && block.start_time() == 0, "it will say when it ends");
                sent.send(blocks_of(task::current())).unwrap();
            },
        );
        assert_eq!(own_block.recv().unwrap(), [(found.get().unwrap(), Life::Live)]);
    }

    #[test]
    fn a_reused_id_is_told_apart_by_its_start_time() {
        beside_a_thread(
            |tid| {
                adopt(tid);
                let [(first, Life::Live)] = blocks_of(tid)[..] else { panic!("one block") };
                // As if the block had been made for an earlier thread of the same id.
                let block = first.get().unwrap();
                block.begin(tid, task::start_time(tid).unwrap() - 1, None);
                assert!(!is_same(block));
                adopt(tid);
                assert_eq!(block.life(), Life::Ended);
                let living = blocks_of(tid).iter().filter(|(_, life)| *life == Life::Live).count();
                assert_eq!((blocks_of(tid).len(), living), (2, 1));
            },
            || {},
        );
    }

    #[test]
    fn a_thread_that_ends_while_nothing_is_sampled_gives_its_block_back() {
        let (sent, tid) = mpsc::channel();
        std::thread::spawn(move || {
            enter(1, RecordIndex::from_u32(1));
            sent.send(task::current()).unwrap();
        })
        .join()
        .unwrap();
        let tid = tid.recv().unwrap();
        assert_eq!(blocks_of(tid), []);
        assert!(lock().unwrap().by_tid.get(&tid).is_none());
    }
}
