//! The threads that the profiler itself runs, and what is different on them.
//!
//! An exporter's HTTP client makes spans and log records like any other code. On a thread of the profiler they must not
//! be profiled, traced or exported as those of the program: each delivery would give the next one something to deliver. So
//! a thread of the profiler's own knows that it is one, [`SpanTracker`](crate::spans::SpanTracker) follows no span that
//! opens on it, and [`on_start`] lets a tracing system suppress itself there for as long as the thread runs.

use std::any::Any;
use std::cell::Cell;
use std::sync::{PoisonError, RwLock};

/// Called when a thread of the profiler starts; what it returns is dropped, on that thread, when the thread ends.
pub type OnStart = fn() -> Box<dyn Any>;

static ON_START: RwLock<Option<OnStart>> = RwLock::new(None);

thread_local! {
    static OWN: Cell<bool> = const { Cell::new(false) };
}

/// Has every thread that the profiler starts from now on begin with `hook`. It must not panic.
pub fn on_start(hook: OnStart) {
    *ON_START.write().unwrap_or_else(PoisonError::into_inner) = Some(hook);
}

/// Whether the calling thread is one of the profiler's own. A thread that is ending may no longer know.
#[must_use]
pub fn is_own_thread() -> bool {
    OWN.try_with(Cell::get).unwrap_or(false)
}

/// Runs the work of a thread of the profiler's own.
pub(crate) fn run(work: impl FnOnce()) {
    OWN.set(true);
    let hook = *ON_START.read().unwrap_or_else(PoisonError::into_inner);
    let _guard = hook.map(|hook| hook());
    work();
}
