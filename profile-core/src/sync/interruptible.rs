//! Atomics that a test can interrupt, as a signal handler would.
//!
//! A signal handler runs to completion between two instructions of the thread it interrupts. For an algorithm whose
//! shared state is atomics only, the places that differ are the gaps between its memory operations, and there are
//! few of them: a test can visit every one. In this crate's unit tests each operation of [`AtomicU64`] and
//! [`AtomicU32`] therefore first calls the handler that the test has installed with [`with_interrupts`], on the same
//! thread; in every other build the name stands for the plain atomic.

#[cfg(not(test))]
pub(crate) use super::{AtomicU32, AtomicU64};
#[cfg(test)]
pub(crate) use instrumented::{AtomicU32, AtomicU64, interrupt, with_interrupts};

#[cfg(test)]
mod instrumented {
    use std::cell::RefCell;

    #[cfg(loom)]
    use loom::thread_local;

    use crate::sync::{self, Ordering};

    type Handler = Box<dyn FnMut()>;

    thread_local! {
        #[allow(clippy::missing_const_for_thread_local)] // loom's macro has no const form
        static HANDLER: RefCell<Option<Handler>> = RefCell::new(None);
    }

    /// Runs `body`; before each operation on an [`AtomicU64`] in it, `handler` runs. As with a masked signal, the
    /// handler is not interrupted by itself; to nest deeper it calls this function again.
    pub(crate) fn with_interrupts<R>(handler: impl FnMut() + 'static, body: impl FnOnce() -> R) -> R {
        let outer = HANDLER.with(|cell| cell.borrow_mut().replace(Box::new(handler)));
        let result = body();
        HANDLER.with(|cell| *cell.borrow_mut() = outer);
        result
    }

    /// Runs the handler, if one is installed.
    pub(crate) fn interrupt() {
        // A thread that ends may have lost the cell, and is then no test's any more.
        let handler = HANDLER.try_with(|cell| cell.borrow_mut().take()).ok().flatten();
        if let Some(mut handler) = handler {
            handler();
            HANDLER.with(|cell| *cell.borrow_mut() = Some(handler));
        }
    }

    /// An atomic that may be interrupted before each operation.
    #[derive(Debug)]
    pub(crate) struct AtomicU64 {
        value: sync::AtomicU64,
        /// In a model, exchanged before each operation, so that loom tries all orders of the operations. By itself
        /// loom 0.7 misses some: it compares an operation with the latest access to the atomic only. When thread A
        /// loads, then B loads, then B stores, it does not see that A's load might come last; of a producer and a
        /// consumer it tried a single order. A relaxed exchange orders nothing in the modelled memory.
        #[cfg(loom)]
        turn: sync::AtomicBool,
    }

    impl AtomicU64 {
        pub(crate) fn new(value: u64) -> Self {
            Self {
                value: sync::AtomicU64::new(value),
                #[cfg(loom)]
                turn: sync::AtomicBool::new(false),
            }
        }

        pub(crate) fn load(&self, order: Ordering) -> u64 {
            self.step().load(order)
        }

        pub(crate) fn store(&self, value: u64, order: Ordering) {
            self.step().store(value, order);
        }

        pub(crate) fn swap(&self, value: u64, order: Ordering) -> u64 {
            self.step().swap(value, order)
        }

        pub(crate) fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
            self.step().fetch_add(value, order)
        }

        pub(crate) fn compare_exchange(
            &self,
            current: u64,
            new: u64,
            success: Ordering,
            failure: Ordering,
        ) -> Result<u64, u64> {
            self.step().compare_exchange(current, new, success, failure)
        }

        fn step(&self) -> &sync::AtomicU64 {
            interrupt();
            #[cfg(loom)]
            self.turn.swap(true, Ordering::Relaxed);
            &self.value
        }
    }

    /// The same for a field that only its own thread writes: no model of several threads uses it.
    #[derive(Debug)]
    pub(crate) struct AtomicU32(std::sync::atomic::AtomicU32);

    impl AtomicU32 {
        pub(crate) fn load(&self, order: Ordering) -> u32 {
            interrupt();
            self.0.load(order)
        }

        pub(crate) fn store(&self, value: u32, order: Ordering) {
            interrupt();
            self.0.store(value, order);
        }
    }
}
