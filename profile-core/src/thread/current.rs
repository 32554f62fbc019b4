//! Which span a thread is in: a small stack of the spans it has entered, and the publication of the innermost.
//!
//! The stack is an array in the thread's block. Exits may come out of order, so an exit searches for its span; a span may
//! be entered twice on one thread and on several threads at once, and nothing here belongs to the span. Publication is
//! one store of the stack's depth; the reader is a signal handler on the same thread, so compiler fences are all the
//! ordering it takes.
//!
//! Regions and labels follow the program's own nesting, so they need no stack: whoever sets one puts back what was there.

use super::block::{Block, STACK};
use super::registry::{own, own_if_any, own_if_sampled};
use crate::context::{LabelSet, RecordIndex, Region};
use crate::sync::interruptible::AtomicU32;
use std::sync::atomic::{Ordering, compiler_fence};

/// The calling thread enters the span of `record`; `key` names it for the exit.
#[inline]
pub(crate) fn enter(key: u64, record: RecordIndex) {
    match own_if_any() {
        Some(block) => block.push(key, record),
        None => enter_first(key, record),
    }
}

/// The thread's first enter: it has no block yet.
#[cold]
#[inline(never)]
fn enter_first(key: u64, record: RecordIndex) {
    if let Some(block) = own() {
        block.push(key, record);
    }
}

/// The calling thread leaves the span that it entered last under `key`. A span that this thread never entered is left
/// alone.
#[inline]
pub(crate) fn exit(key: u64) {
    if let Some(block) = own_if_any() {
        block.pop(key);
    }
}

/// The record of the span that the calling thread is in.
pub(crate) fn innermost() -> RecordIndex {
    own_if_any().map_or(RecordIndex::NONE, Block::current)
}

/// The calling thread is in this region now; returns that which it was in.
#[inline]
pub(crate) fn set_region(region: Region) -> Region {
    let before = own_if_sampled().map_or(0, |block| exchange(&block.region, region.to_u32()));
    Region::from_u32(before)
}

/// These labels hold on the calling thread now; returns those that held.
#[inline]
pub(crate) fn set_labels(labels: LabelSet) -> LabelSet {
    let before = own_if_sampled().map_or(0, |block| exchange(&block.labels, labels.to_u32()));
    LabelSet::from_u32(before)
}

/// The calling thread is in the region again that it was in before a [`set_region`].
#[inline]
pub(crate) fn restore_region(region: Region) {
    if let Some(block) = own_if_any() {
        exchange(&block.region, region.to_u32());
    }
}

/// The labels hold again that held before a [`set_labels`].
#[inline]
pub(crate) fn restore_labels(labels: LabelSet) {
    if let Some(block) = own_if_any() {
        exchange(&block.labels, labels.to_u32());
    }
}

/// The region that the calling thread is in.
pub(crate) fn region() -> Region {
    Region::from_u32(own_if_any().map_or(0, |block| block.region.load(Ordering::Relaxed)))
}

/// The labels that hold on the calling thread.
pub(crate) fn labels() -> LabelSet {
    LabelSet::from_u32(own_if_any().map_or(0, |block| block.labels.load(Ordering::Relaxed)))
}

/// One load and one store, since only the thread itself writes. What its signal handler must find belongs to the code
/// between two stores: the compiler may not move one across it.
#[inline]
fn exchange(field: &AtomicU32, value: u32) -> u32 {
    let before = field.load(Ordering::Relaxed);
    compiler_fence(Ordering::SeqCst);
    field.store(value, Ordering::Relaxed);
    compiler_fence(Ordering::SeqCst);
    before
}

impl Block {
    #[inline]
    fn push(&self, key: u64, record: RecordIndex) {
        let depth = self.depth.load(Ordering::Relaxed).wrapping_add(1);
        if let (Some(slot), Some(name)) = (self.records.get(depth as usize), self.keys.get(depth as usize)) {
            slot.store(record.to_u32(), Ordering::Relaxed);
            name.store(key, Ordering::Relaxed);
        }
        self.publish(depth);
    }

    #[inline]
    fn pop(&self, key: u64) {
        let depth = self.depth.load(Ordering::Relaxed);
        if self.keys.get(depth as usize).is_some_and(|name| name.load(Ordering::Relaxed) == key) {
            self.publish(depth.saturating_sub(1));
        } else {
            self.pop_inner(key, depth as usize);
        }
    }

    /// An exit that is not of the innermost remembered span.
    #[cold]
    #[inline(never)]
    fn pop_inner(&self, key: u64, depth: usize) {
        if depth > STACK {
            // The span lies beyond what the stack remembers: the innermost remembered one is the best answer.
            return self.publish(depth as u32 - 1);
        }
        let mut entered = self.keys.iter().take(depth + 1).skip(1);
        let Some(found) = entered.rposition(|name| name.load(Ordering::Relaxed) == key) else { return };
        // The entry of the innermost span stays as it is until the depth goes down.
        for above in found + 2..=depth {
            let (record, name) = (&self.records[above], &self.keys[above]);
            self.records[above - 1].store(record.load(Ordering::Relaxed), Ordering::Relaxed);
            self.keys[above - 1].store(name.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.publish(depth as u32 - 1);
    }

    #[inline]
    fn publish(&self, depth: u32) {
        // The entry and the record's own fields were written before; the handler on this thread must not see the depth earlier.
        compiler_fence(Ordering::Release);
        self.depth.store(depth, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::interruptible::with_interrupts;
    use std::cell::RefCell;
    use std::rc::Rc;

    fn on_a_thread(check: impl FnOnce() + Send) {
        std::thread::scope(|scope| scope.spawn(check).join().unwrap());
    }

    const A: RecordIndex = RecordIndex::from_u32(11);
    const B: RecordIndex = RecordIndex::from_u32(12);
    const C: RecordIndex = RecordIndex::from_u32(13);

    #[test]
    fn exits_in_any_order_leave_the_innermost_remaining_span() {
        on_a_thread(|| {
            enter(1, A);
            enter(2, B);
            enter(3, C);
            exit(2);
            assert_eq!(innermost(), C);
            exit(3);
            assert_eq!(innermost(), A);
            exit(99);
            assert_eq!(innermost(), A, "a span never entered here changes nothing");
            exit(1);
            assert_eq!(innermost(), RecordIndex::NONE);
            exit(1);
            assert_eq!(innermost(), RecordIndex::NONE);
        });
    }

    #[test]
    fn a_span_entered_twice_is_left_twice() {
        on_a_thread(|| {
            for (key, record) in [(1, A), (2, B), (1, A)] {
                enter(key, record);
            }
            exit(1);
            assert_eq!(innermost(), B);
            exit(2);
            assert_eq!(innermost(), A);
        });
    }

    /// Every gap between two memory operations of a thread that enters and leaves regions and labels: a signal handler
    /// there finds what the program's nesting says, and never a mixture that no piece of code is in.
    #[test]
    fn whatever_the_gap_a_handler_finds_what_the_nesting_says() {
        on_a_thread(|| {
            let [outer, inner] = [1, 2].map(Region::from_u32);
            let [few, many] = [7, 8].map(LabelSet::from_u32);
            set_region(Region::NONE); // registers, if anything is sampled
            let block = own().unwrap();
            let seen = Rc::new(RefCell::new(Vec::new()));
            let handler = {
                let seen = Rc::clone(&seen);
                move || {
                    let word = block.scope_word();
                    let state = (word as u32, (word >> 32) as u32);
                    if seen.borrow().last() != Some(&state) {
                        seen.borrow_mut().push(state);
                    }
                }
            };
            with_interrupts(handler, || {
                let (no_labels, no_region) = (set_labels(few), set_region(outer));
                let (labels, region) = (set_labels(many), set_region(inner));
                assert_eq!((labels, region, super::labels()), (few, outer, many));
                restore_region(region);
                restore_labels(labels);
                restore_region(no_region);
                restore_labels(no_labels);
                let _one_more_gap = super::labels();
            });
            let there = [(0, 0), (0, 7), (1, 7), (1, 8), (2, 8)];
            let and_back = there.iter().rev().skip(1);
            assert_eq!(*seen.borrow(), there.iter().chain(and_back).copied().collect::<Vec<_>>());
        });
    }

    #[test]
    fn a_thread_that_nobody_samples_and_one_that_ends_stay_where_they_are() {
        struct Last;
        impl Drop for Last {
            fn drop(&mut self) {
                let region = set_region(Region::from_u32(3));
                assert_eq!((region, set_labels(LabelSet::from_u32(4))), (Region::NONE, LabelSet::NONE));
                assert_eq!(labels(), LabelSet::NONE, "there is no block any more");
                restore_region(region);
            }
        }
        thread_local!(static LAST: Last = const { Last });
        on_a_thread(|| {
            LAST.with(|_| ()); // registered before the block: destroyed after it
            enter(1, A);
            let before = set_region(Region::from_u32(3));
            assert_eq!((before, set_region(before)), (Region::NONE, Region::from_u32(3)));
        });
    }

    #[test]
    fn deeper_than_the_stack_remembers_still_comes_back() {
        on_a_thread(|| {
            enter(1, A);
            for key in 0..3 * STACK as u64 {
                enter(100 + key, B);
            }
            for key in (0..3 * STACK as u64).rev() {
                assert_eq!(innermost(), B);
                exit(100 + key);
            }
            assert_eq!(innermost(), A);
        });
    }
}
