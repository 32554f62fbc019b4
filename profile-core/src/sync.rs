//! Twins of the standard library's atomics: under `--cfg loom` the same names come from the model checker `loom`, so
//! that a lock-free module is checked in the very form in which it ships.
//!
//! A module that wants to be modelled takes its atomics, `Arc` and threads from here instead of `std`. What loom has
//! no notion of is a no-op there: [`compiler_fence`] orders a thread against its own signal handlers, and loom knows
//! no handlers. Handlers are the business of [`interruptible`], which works with and without loom. [`Word`] is for the
//! data that such a module passes between threads.

// A vocabulary: not every build uses every word.
#![allow(unused_imports)]

pub(crate) mod interruptible;
mod word;

#[cfg(loom)]
pub(crate) use self::modelled::*;
pub(crate) use self::word::Word;

#[cfg(not(loom))]
pub(crate) use self::standard::*;

#[cfg(not(loom))]
mod standard {
    pub(crate) use std::sync::Arc;
    pub(crate) use std::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, compiler_fence, fence,
    };
    pub(crate) use std::thread;
}

#[cfg(loom)]
mod modelled {
    pub(crate) use loom::sync::Arc;
    pub(crate) use loom::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
    pub(crate) use loom::thread;

    /// Nothing: loom executes the program in its written order on each thread.
    pub(crate) fn compiler_fence(_order: Ordering) {}
}
