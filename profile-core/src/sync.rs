//! Twins of the standard library's atomics: under `--cfg loom` the same names come from the model checker `loom`, so
//! that a lock-free module is checked in the very form in which it ships.
#![allow(unused_imports)] // a vocabulary: not every build uses every word

#[cfg(not(loom))]
mod standard {
    pub(crate) use std::sync::Arc;
    pub(crate) use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
    pub(crate) use std::thread;
}

#[cfg(loom)]
mod modelled {
    pub(crate) use loom::sync::Arc;
    pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
    pub(crate) use loom::thread;
}

#[cfg(loom)]
pub(crate) use self::modelled::*;
#[cfg(not(loom))]
pub(crate) use self::standard::*;
