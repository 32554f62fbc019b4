//! The local roots that close, on their way to the collector.
//!
//! Only a policy that keeps samples by a request's duration asks for them. The queue is bounded and never waited for: a
//! root that finds it full is counted, and the collector then knows that it cannot tell.

use crate::context::SpanId;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How many roots can close between two looks of the collector, which come every 50 ms: 512 KiB of memory.
const WAITING: usize = 1 << 14;

/// A local root that has closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClosedRoot {
    pub(crate) id: SpanId,
    /// From its opening to its closing.
    pub(crate) lasted: Duration,
}

/// The end at which roots close.
#[derive(Clone, Debug)]
pub(crate) struct Closings {
    queue: SyncSender<ClosedRoot>,
    missed: Arc<AtomicU64>,
}

/// The end at which the collector looks. It stays while collecting stops and starts again.
#[derive(Debug)]
pub(crate) struct ClosedRoots {
    queue: Mutex<Receiver<ClosedRoot>>,
    missed: Arc<AtomicU64>,
}

/// A queue without anything in it.
pub(crate) fn closings() -> (Closings, ClosedRoots) {
    let (sender, receiver) = sync_channel(WAITING);
    let missed = Arc::new(AtomicU64::new(0));
    let roots = ClosedRoots { queue: Mutex::new(receiver), missed: Arc::clone(&missed) };
    (Closings { queue: sender, missed }, roots)
}

impl Closings {
    /// Tells that a root has closed. Never waits: the queue's only receiver does not either.
    pub(crate) fn tell(&self, root: ClosedRoot) {
        if self.queue.try_send(root).is_err() {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl ClosedRoots {
    /// Appends the roots that have closed since the last look. Returns how many more were missed.
    pub(crate) fn take(&self, roots: &mut Vec<ClosedRoot>) -> u64 {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        roots.extend(queue.try_iter().take(WAITING));
        self.missed.swap(0, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_is_counted_and_not_waited_for() {
        let (closings, roots) = closings();
        for id in 0..WAITING as u64 + 5 {
            closings.tell(ClosedRoot { id: SpanId::from_u64(id), lasted: Duration::from_nanos(id) });
        }
        let mut taken = Vec::new();
        assert_eq!((roots.take(&mut taken), taken.len()), (5, WAITING));
        assert_eq!(taken[7], ClosedRoot { id: SpanId::from_u64(7), lasted: Duration::from_nanos(7) });
        assert_eq!(roots.take(&mut taken), 0);
    }
}
