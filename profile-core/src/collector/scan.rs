//! The slow scan of the task list: it finds threads that never entered a span, and blocks whose thread is gone.

use super::account::Accounts;
use super::window::Loss;
use crate::sampler::cpu;
use crate::sys::{clock, task, timer};
use crate::thread::{self, Block, BlockIndex, Life, Ticker, blocks};
use hashbrown::HashSet;

/// What a scan comes to.
#[derive(Default)]
pub(super) struct Scanned {
    /// The blocks whose threads are gone: once their rings are empty they can be [forgotten](thread::forget).
    pub(super) gone: Vec<(BlockIndex, &'static Block)>,
    /// CPU time that no sample will ever tell of.
    pub(super) losses: Vec<(Loss, u64)>,
}

/// Gives every thread of the process a block and reads its clock.
pub(super) fn scan(accounts: &mut Accounts) -> Scanned {
    // First the blocks, then the task list: a thread that registers itself in between is not missed in the list.
    let known: Vec<_> = blocks().filter(|(_, block)| block.life() != Life::Free).collect();
    let mut scanned = Scanned::default();
    // An unreadable list (no /proc) leaves threads to register themselves; then none can be called gone either.
    let Ok(tids) = task::list() else { return scanned };
    let listed: HashSet<i32> = tids.iter().copied().collect();
    let mut with_block = HashSet::new();
    for (index, block) in known {
        if is_gone(&listed, index, block) {
            thread::end(index, block);
            cpu::disarm(block);
            cpu::unshare(index, block);
            scanned.gone.push((index, block));
        } else if block.life() == Life::Live {
            with_block.insert(block.tid());
            scanned.losses.extend(look(accounts, index, block));
        }
    }
    tids.into_iter().filter(|tid| !with_block.contains(tid)).for_each(thread::adopt);
    cpu::rest_if_unused();
    scanned
}

/// Whether the thread that the block was made for has ended. Wrongly called gone, a thread would go on writing to a block
/// that is another's, so the task list alone does not decide: threads that end while it is read make it skip others.
fn is_gone(listed: &HashSet<i32>, index: BlockIndex, block: &'static Block) -> bool {
    if !listed.contains(&block.tid()) && clock::thread_cpu_nanos(block.tid()).is_none() {
        return true;
    }
    match block.life() {
        Life::Live => is_succeeded(block),
        // It said that it ends, and is still about; or it is gone, and a later thread has its id.
        _ => thread::is_replaced(index, block),
    }
}

/// Whether the thread that the block was made for is gone and another has its id. The timer of a thread that is gone never
/// expires again, which is a cheaper thing to ask for than a start time.
fn is_succeeded(block: &'static Block) -> bool {
    let may_be = match block.ticker() {
        Some(Ticker::Timer(id)) => !timer::is_armed(id),
        Some(Ticker::Event(_)) => true,
        None => false,
    };
    may_be && !thread::is_same(block)
}

fn look(accounts: &mut Accounts, index: BlockIndex, block: &'static Block) -> Option<(Loss, u64)> {
    read(accounts, index, block);
    let loss = accounts.look(index, || blocks_sigprof(block));
    if block.has_timer() {
        return loss;
    }
    cpu::arm(index, block);
    // What was left open for the shared timer is settled before the thread's own begins to count.
    if block.has_timer() { loss.or_else(|| accounts.gained(index)) } else { loss }
}

/// Whether the block's thread blocks SIGPROF.
pub(super) fn blocks_sigprof(block: &Block) -> bool {
    task::blocks_sigprof(block.tid()).unwrap_or(false)
}

/// Reads the clock of a living thread.
pub(super) fn read(accounts: &mut Accounts, index: BlockIndex, block: &Block) {
    if let (Some(now), Some(base)) = (clock::thread_cpu_nanos(block.tid()), block.cpu_base()) {
        accounts.read(index, now.saturating_sub(base), block.has_timer());
    }
}
