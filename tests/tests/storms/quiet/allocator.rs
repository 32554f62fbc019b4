//! The global allocator of these tests: the system's, but not for a signal handler.

use super::calls::give_up;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, except in the handler.
pub(crate) struct Quiet;

thread_local! {
    static IS_FORBIDDEN: Cell<bool> = const { Cell::new(false) };
}

/// Whether the calling thread may not allocate and free.
pub(super) fn forbid(is_forbidden: bool) {
    IS_FORBIDDEN.set(is_forbidden);
}

impl Quiet {
    fn check() {
        if IS_FORBIDDEN.get() {
            give_up("the handler uses the allocator");
        }
    }
}

// SAFETY: all calls go to the system's allocator as they are.
unsafe impl GlobalAlloc for Quiet {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::check();
        // SAFETY: the caller's promises are the inner allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        Self::check();
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::check();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::check();
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
