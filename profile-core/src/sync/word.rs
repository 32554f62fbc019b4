//! A word of data that one thread hands to another.

#[cfg(loom)]
pub(crate) use self::checked::Word;
#[cfg(not(loom))]
pub(crate) use self::plain::Word;

#[cfg(not(loom))]
mod plain {
    use crate::sync::Ordering;
    use crate::sync::interruptible::AtomicU64;

    /// A 64-bit word that threads write and read in turn, never at the same time. All zero bytes are a word of value 0.
    ///
    /// It is an atomic with relaxed order, hence a plain move, so that a broken promise garbles a value and no more.
    #[derive(Debug)]
    #[repr(transparent)]
    pub(crate) struct Word(AtomicU64);

    impl Word {
        pub(crate) fn new(value: u64) -> Self {
            Self(AtomicU64::new(value))
        }

        #[inline]
        pub(crate) fn load(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }

        #[inline]
        pub(crate) fn store(&self, value: u64) {
            self.0.store(value, Ordering::Relaxed);
        }
    }
}

#[cfg(loom)]
mod checked {
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use loom::cell::UnsafeCell;

    /// The same in a model, where "never at the same time" is checked: the cell fails the model when two accesses, one
    /// of them a store, are not ordered by what happened before. (A modelled relaxed atomic could not show that: loom
    /// delays stores, but no loads.) The mutex is there for `Sync` only; loom runs one thread at a time.
    #[derive(Debug)]
    pub(crate) struct Word(Mutex<(UnsafeCell<()>, u64)>);

    impl Word {
        pub(crate) fn new(value: u64) -> Self {
            Self(Mutex::new((UnsafeCell::new(()), value)))
        }

        pub(crate) fn load(&self) -> u64 {
            let word = self.access();
            word.0.with(|_| word.1)
        }

        pub(crate) fn store(&self, value: u64) {
            let mut word = self.access();
            word.0.with_mut(|_| ());
            word.1 = value;
        }

        fn access(&self) -> MutexGuard<'_, (UnsafeCell<()>, u64)> {
            #[cfg(test)]
            crate::sync::interruptible::interrupt();
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }
}
