//! Linux (glibc and musl), by libc and raw system calls.

pub(crate) mod clock;
pub(crate) mod file_lock;
pub(crate) mod modules;
pub(crate) mod perf;
pub(crate) mod process;
pub(crate) mod signal;
pub(crate) mod stack;
pub(crate) mod task;
pub(crate) mod timer;
