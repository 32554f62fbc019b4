//! The slow scan of the task list: it finds threads that never entered a span, and blocks whose thread is gone.

use super::account::Accounts;
use crate::sampler::cpu;
use crate::sys::{clock, task, timer};
use crate::thread::{self, Block, BlockIndex, Life, blocks};
use hashbrown::HashSet;

/// Gives every thread of the process a block and reads its clock. Returns the blocks whose threads are gone: once their
/// rings are empty they can be [forgotten](thread::forget).
pub(super) fn scan(accounts: &mut Accounts) -> Vec<(BlockIndex, &'static Block)> {
    // An unreadable list (no /proc) leaves threads to register themselves; then none can be called gone either.
    let Ok(tids) = task::list() else { return Vec::new() };
    let alive: HashSet<i32> = tids.iter().copied().collect();
    let mut with_block = HashSet::new();
    let mut gone = Vec::new();
    for (index, block) in blocks().filter(|(_, block)| block.life() != Life::Free) {
        if block.life() == Life::Live && alive.contains(&block.tid()) && !replaced(block) {
            with_block.insert(block.tid());
            check(accounts, index, block);
        } else if !alive.contains(&block.tid()) || block.life() == Life::Live {
            cpu::disarm(block);
            gone.push((index, block));
        }
    }
    tids.into_iter().filter(|tid| !with_block.contains(tid)).for_each(thread::adopt);
    gone
}

fn check(accounts: &mut Accounts, index: BlockIndex, block: &'static Block) {
    if !block.has_timer() {
        cpu::arm(index, block);
    }
    if let Some(cpu_now) = clock::thread_cpu_nanos(block.tid()) {
        accounts.read(index, block, cpu_now);
    }
}

/// Whether the thread that the block was made for is gone and another has its id. The timer of a thread that is gone never
/// expires again, which is a cheaper thing to ask for than a start time.
fn replaced(block: &'static Block) -> bool {
    block.timer_id().is_some_and(|id| !timer::is_armed(id)) && !thread::is_same(block)
}
