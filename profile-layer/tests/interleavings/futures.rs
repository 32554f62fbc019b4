//! Futures that do as they are told, and say which span they are polled and dropped in.

use crate::current;
use profile_layer::SpanId;
use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use tracing::instrument::Instrumented;

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Wait,
    Panic,
}

/// Does one step each time it is polled, and is ready after the last.
pub(crate) struct Scripted {
    steps: VecDeque<Step>,
    seen: Arc<Mutex<Option<SpanId>>>,
}

impl Scripted {
    pub(crate) fn new(steps: Vec<Step>) -> Self {
        Self { steps: steps.into(), seen: Arc::default() }
    }

    fn look(&self) {
        *self.seen.lock().unwrap() = current();
    }
}

impl Future for Scripted {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        self.look();
        match self.steps.pop_front() {
            Some(Step::Wait) => Poll::Pending,
            // Not `panic!`, which would print.
            Some(Step::Panic) => resume_unwind(Box::new("as told")),
            None => Poll::Ready(()),
        }
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.look();
    }
}

/// A future that has not been dropped yet.
pub(crate) struct Kept {
    future: Pin<Box<Instrumented<Scripted>>>,
    seen: Arc<Mutex<Option<SpanId>>>,
}

impl Kept {
    pub(crate) fn new(future: Instrumented<Scripted>) -> Self {
        let seen = Arc::clone(&future.inner().seen);
        Self { future: Box::pin(future), seen }
    }

    /// Polls it here. Returns the span that it was in, and itself if there is more to do.
    pub(crate) fn poll(mut self) -> (Option<SpanId>, Option<Self>) {
        let around = current();
        let mut context = Context::from_waker(Waker::noop());
        let polled = catch_unwind(AssertUnwindSafe(|| self.future.as_mut().poll(&mut context)));
        assert_eq!(current(), around, "after a poll a thread is where it was before");
        let inside = *self.seen.lock().unwrap();
        (inside, matches!(polled, Ok(Poll::Pending)).then_some(self))
    }

    /// Drops it here. Returns the span that its inside was dropped in.
    pub(crate) fn drop_here(self) -> Option<SpanId> {
        let around = current();
        let Self { future, seen } = self;
        drop(future);
        assert_eq!(current(), around);
        *seen.lock().unwrap()
    }
}
