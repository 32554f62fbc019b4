//! Hands the current tables to signal handlers, and frees old ones when no handler can be using them.
//!
//! A handler *enters*: it adds one to the count of handlers in flight, and only then loads the pointer to the current
//! tables; on its way out it subtracts one. Whoever *replaces* the tables first swaps the pointer, and only then looks
//! at the count, by adding zero to it. All operations on the count have one order. If the look comes first, the
//! handler's addition reads from it, so the handler sees the new pointer. If the look comes second and finds zero, the
//! handler has left, and the look reads from its leaving, so all its reads of the old tables are over. Either way,
//! tables that were swapped out before a look that finds zero can be freed. Acquire and release on the count are all
//! that this needs; the loom model below tries the orders.
//!
//! Old tables wait in a list that only the replacing side touches. The list is bounded: while it is full, new tables
//! are refused and given back, and handlers go on with those they have.
#![allow(unsafe_code)] // the door between the background thread, which owns the tables, and the handlers

use super::set::UnwindTables;
use crate::sync::{AtomicPtr, AtomicUsize, Ordering};
use std::fmt;
use std::ptr::{self, NonNull};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The most old values that wait for handlers to leave.
const MAX_RETIRED: usize = 8;

/// The place where handlers find the current [`UnwindTables`].
pub type TableSlot = Slot<UnwindTables>;

/// A place for one value, which handlers borrow and a background thread replaces.
pub struct Slot<T> {
    /// From `Box::into_raw`, or null. Written by the replacing side.
    current: AtomicPtr<T>,
    /// How many guards exist. Written by handlers.
    in_flight: AtomicUsize,
    /// Swapped out and not yet freed. Never touched by a handler.
    retired: Mutex<Vec<Retired<T>>>,
}

/// A value that handlers may still be using.
struct Retired<T>(NonNull<T>);

// SAFETY: it owns a `T`, to which handlers on any thread may hold shared references, and may drop it on any thread.
unsafe impl<T: Send + Sync> Send for Retired<T> {}

/// A handler in flight: the value it borrows is not freed before the guard is dropped.
pub struct Guard<'a, T> {
    slot: &'a Slot<T>,
    current: *const T,
}

impl<T> Slot<T> {
    /// An empty slot.
    #[cfg(not(loom))]
    #[must_use]
    pub const fn new() -> Self {
        Self {
            current: AtomicPtr::new(ptr::null_mut()),
            in_flight: AtomicUsize::new(0),
            retired: Mutex::new(Vec::new()),
        }
    }

    /// An empty slot.
    #[cfg(loom)]
    #[must_use]
    pub fn new() -> Self {
        Self {
            current: AtomicPtr::new(ptr::null_mut()),
            in_flight: AtomicUsize::new(0),
            retired: Mutex::new(Vec::new()),
        }
    }

    /// Borrows the current value. For handlers: two atomic operations here, one when the guard is dropped.
    #[inline]
    pub fn enter(&self) -> Guard<'_, T> {
        // Acquire: if this comes after a look of the replacing side, what that side did before is visible here.
        self.in_flight.fetch_add(1, Ordering::Acquire);
        // Acquire: the value's contents are visible.
        Guard { slot: self, current: self.current.load(Ordering::Acquire) }
    }

    /// How many handlers are in flight. Zero, seen after no new ones can start, means that all have left, and what they
    /// wrote is visible.
    #[inline]
    pub fn in_flight(&self) -> usize {
        // Adding zero, not loading: a handler that enters later reads from this addition (see the module's text).
        self.in_flight.fetch_add(0, Ordering::AcqRel)
    }

    /// Puts `new` in place and frees what no handler can be using.
    ///
    /// # Errors
    ///
    /// Gives `new` back while too many old values still wait for handlers to leave: try again later.
    pub fn replace(&self, new: Box<T>) -> Result<(), Box<T>> {
        let mut retired = self.retired();
        self.reclaim_from(&mut retired);
        if retired.len() >= MAX_RETIRED {
            return Err(new);
        }
        // Release: the new value's contents are visible to whoever loads the pointer.
        let old = self.current.swap(Box::into_raw(new), Ordering::AcqRel);
        retired.extend(NonNull::new(old).map(Retired));
        self.reclaim_from(&mut retired);
        Ok(())
    }

    /// Frees the old values that no handler can be using, and says how many still wait. To be called now and then.
    pub fn reclaim(&self) -> usize {
        let mut retired = self.retired();
        self.reclaim_from(&mut retired);
        retired.len()
    }

    fn reclaim_from(&self, retired: &mut Vec<Retired<T>>) {
        if !retired.is_empty() && self.in_flight() == 0 {
            for Retired(old) in retired.drain(..) {
                // SAFETY: `old` came from `Box::into_raw` and is in the list once. It was swapped out before the look
                // that just found no handler in flight: those that had entered have left, and those that enter later
                // load a newer pointer (see the module's text).
                drop(unsafe { Box::from_raw(old.as_ptr()) });
            }
        }
    }

    fn retired(&self) -> MutexGuard<'_, Vec<Retired<T>>> {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Guard<'_, T> {
    /// The value, if there is one yet.
    #[inline]
    #[must_use]
    pub fn get(&self) -> Option<&T> {
        // SAFETY: null, or a value from `Box::into_raw` that is not freed while this guard is counted in flight.
        unsafe { self.current.as_ref() }
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // Release: the handler's reads are over before the count says so.
        self.slot.in_flight.fetch_sub(1, Ordering::Release);
    }
}

impl<T> Drop for Slot<T> {
    fn drop(&mut self) {
        let current = NonNull::new(self.current.swap(ptr::null_mut(), Ordering::AcqRel)).map(Retired);
        let mut retired = self.retired();
        retired.extend(current);
        for Retired(old) in retired.drain(..) {
            // SAFETY: from `Box::into_raw`, in the list once, and no guard can exist, since it would borrow the slot.
            drop(unsafe { Box::from_raw(old.as_ptr()) });
        }
    }
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Slot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("retired", &self.retired().len()).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Guard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("empty", &self.current.is_null()).finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// Counts how many of it live.
    struct Counted(Arc<AtomicUsize>, usize);

    impl Counted {
        fn new(alive: &Arc<AtomicUsize>, number: usize) -> Box<Self> {
            alive.fetch_add(1, Ordering::Relaxed);
            Box::new(Self(Arc::clone(alive), number))
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn current(slot: &Slot<Counted>) -> Option<usize> {
        slot.enter().get().map(|counted| counted.1)
    }

    #[test]
    fn old_values_live_as_long_as_a_guard_and_no_longer() {
        let alive = Arc::new(AtomicUsize::new(0));
        let count = || alive.load(Ordering::Relaxed);
        let slot = Slot::new();
        assert_eq!(current(&slot), None);
        assert!(slot.replace(Counted::new(&alive, 1)).is_ok());
        assert!(slot.replace(Counted::new(&alive, 2)).is_ok());
        assert_eq!((current(&slot), count()), (Some(2), 1), "nobody held the first");

        let guard = slot.enter();
        assert_eq!(slot.in_flight(), 1);
        assert!(slot.replace(Counted::new(&alive, 3)).is_ok());
        assert_eq!((current(&slot), count()), (Some(3), 2));
        assert_eq!((slot.reclaim(), guard.get().unwrap().1), (1, 2), "the guard keeps what it saw");
        drop(guard);
        assert_eq!((slot.reclaim(), count()), (0, 1));
        drop(slot);
        assert_eq!(count(), 0);
    }

    #[test]
    fn a_guard_that_stays_bounds_what_is_kept() {
        let alive = Arc::new(AtomicUsize::new(0));
        let slot = Slot::new();
        assert!(slot.replace(Counted::new(&alive, 0)).is_ok());
        let guard = slot.enter();
        let refused = (1..100).find(|number| slot.replace(Counted::new(&alive, *number)).is_err());
        assert_eq!(refused, Some(MAX_RETIRED + 1));
        assert_eq!(alive.load(Ordering::Relaxed), MAX_RETIRED + 1, "the refused one was given back");
        assert_eq!(current(&slot), Some(MAX_RETIRED));
        drop(guard);
        assert!(slot.replace(Counted::new(&alive, 100)).is_ok());
        assert_eq!(alive.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn threads_read_whole_values_while_they_are_replaced() {
        let slot = Slot::new();
        let readers_left = AtomicUsize::new(3);
        assert!(slot.replace(Box::new([0_u64; 64])).is_ok());
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let guard = slot.enter();
                        let value = guard.get().unwrap();
                        assert!(value.iter().all(|word| *word == value[0]), "freed or half-written");
                    }
                    readers_left.fetch_sub(1, Ordering::Relaxed);
                });
            }
            let mut number = 0;
            while readers_left.load(Ordering::Relaxed) > 0 {
                number += 1;
                let _ = slot.replace(Box::new([number; 64]));
                slot.reclaim();
                std::thread::yield_now();
            }
        });
        assert_eq!(slot.reclaim(), 0);
    }
}

/// Run by `scripts/loom`.
#[cfg(all(test, loom))]
mod models {
    use super::*;
    use crate::sync::{Arc, thread};

    /// A value whose end is visible: loom reports a read of it that is not ordered before its drop.
    struct Watched(loom::cell::UnsafeCell<u32>);

    impl Drop for Watched {
        fn drop(&mut self) {
            // SAFETY: loom panics if any other access is concurrent; that is what is tested.
            self.0.with_mut(|number| unsafe { *number = 0 });
        }
    }

    fn read(slot: &Slot<Watched>) -> u32 {
        let guard = slot.enter();
        // SAFETY: as above.
        guard.get().map_or(u32::MAX, |watched| watched.0.with(|number| unsafe { *number }))
    }

    fn watched(number: u32) -> Box<Watched> {
        Box::new(Watched(loom::cell::UnsafeCell::new(number)))
    }

    #[test]
    fn loom_a_value_is_freed_only_after_its_last_reader() {
        // Two readers and a writer: all orders with up to three preemptions.
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let slot = Arc::new(Slot::new());
            assert!(slot.replace(watched(1)).is_ok());
            let readers: Vec<_> = (0..2)
                .map(|_| {
                    let slot = Arc::clone(&slot);
                    thread::spawn(move || assert!([1, 2].contains(&read(&slot))))
                })
                .collect();
            assert!(slot.replace(watched(2)).is_ok());
            slot.reclaim();
            readers.into_iter().for_each(|reader| reader.join().unwrap());
            assert_eq!((read(&slot), slot.reclaim()), (2, 0));
        });
    }

    #[test]
    fn loom_a_reader_that_comes_back_sees_what_was_put_in_place() {
        loom::model(|| {
            let slot = Arc::new(Slot::new());
            let reader = {
                let slot = Arc::clone(&slot);
                thread::spawn(move || (read(&slot), read(&slot)))
            };
            assert!(slot.replace(watched(1)).is_ok());
            assert!(slot.replace(watched(2)).is_ok());
            let (first, second) = reader.join().unwrap();
            assert!(first == u32::MAX || second != u32::MAX, "a value vanished");
            assert!(second >= first || first == u32::MAX, "{first} and then {second}");
        });
    }
}
