//! Regions and labels: what a thread says about its work beside the span that it is in.
//!
//! A *region* is the name of a function that is too hot for a span: entering and leaving it is a store each. *Labels* are
//! keys and values that hold for all the code that a function runs. Both nest as functions do, and a guard puts back what
//! held before on every way out, unwinding too. Futures publish theirs for each poll. Nothing here ever panics, also while
//! a thread ends and when nothing is sampled; then nothing is published.

use crate::context::{LabelSet, Region};
use crate::thread;
use std::fmt::Display;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU32, Ordering};

/// A place in the program that is a region. Meant for a `static`.
#[derive(Debug)]
pub struct RegionSite {
    name: &'static str,
    /// The region's number, 0 until it is first entered.
    number: AtomicU32,
}

/// The calling thread is in a region, or under labels, as long as this lives.
#[derive(Debug)]
#[must_use = "what is entered is left when the guard is dropped"]
pub struct RegionGuard {
    before: Region,
    of_this_thread: PhantomData<*const ()>,
}

/// Labels hold on the calling thread as long as this lives.
#[derive(Debug)]
#[must_use = "the labels hold until the guard is dropped"]
pub struct LabelGuard {
    before: LabelSet,
    of_this_thread: PhantomData<*const ()>,
}

/// The labels that are to hold in a piece of code: those that hold around it, and some more.
#[derive(Clone, Copy, Debug)]
pub struct Labels {
    set: LabelSet,
    is_wanted: bool,
}

impl RegionSite {
    /// A region called `name`, which does nothing yet.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, number: AtomicU32::new(Region::NONE.to_u32()) }
    }

    /// The calling thread enters the region. A thread that nobody samples stays where it is.
    #[inline]
    pub fn enter(&self) -> RegionGuard {
        let before = match Region::from_u32(self.number.load(Ordering::Relaxed)) {
            Region::NONE => self.enter_first(),
            region => thread::set_region(region),
        };
        RegionGuard { before, of_this_thread: PhantomData }
    }

    /// Enters a region that has no number yet: it gets one when there is somebody to read it.
    #[cold]
    #[inline(never)]
    fn enter_first(&self) -> Region {
        if !thread::is_sampled() {
            return thread::region();
        }
        let region = Region::of(self.name);
        self.number.store(region.to_u32(), Ordering::Relaxed);
        thread::set_region(region)
    }
}

impl Drop for RegionGuard {
    #[inline]
    fn drop(&mut self) {
        thread::restore_region(self.before);
    }
}

impl Labels {
    /// The labels that hold now.
    #[must_use]
    pub fn current() -> Self {
        Self { set: thread::labels(), is_wanted: thread::is_sampled() }
    }

    /// Whether any sample can be taken that would carry them. If not, nothing need be added.
    #[must_use]
    pub const fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    /// Adds a label; see [`LabelSet::with`].
    pub fn add(&mut self, key: &'static str, value: &dyn Display) {
        self.set = self.set.with(key, value);
    }

    /// From now on they hold on the calling thread.
    #[inline]
    pub fn enter(self) -> LabelGuard {
        LabelGuard { before: thread::set_labels(self.set), of_this_thread: PhantomData }
    }
}

impl Drop for LabelGuard {
    #[inline]
    fn drop(&mut self) {
        thread::restore_labels(self.before);
    }
}
