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
