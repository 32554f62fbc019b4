//! The door to the operating system: signals, timers, threads, memory.
//!
//! One folder a platform, the same file names and signatures in each; nothing outside this module asks which one it
//! is. Everything here is mechanism: which threads get timers and what a signal does is decided by the sampler.
#![allow(unsafe_code)] // the door to the operating system

#[cfg(target_os = "linux")]
#[path = "linux/mod.rs"]
mod platform;

pub(crate) use platform::*;
