//! Random interleavings of open, clone, enter, exit and close on several threads, and of futures that are polled and
//! dropped anywhere.

use crate::futures::{Kept, Scripted, Step};
use crate::threads::Worker;
use crate::{current, profiler};
use profile_layer::SpanId;
use proptest::prelude::*;
use tracing::{Dispatch, Instrument, Span};

const THREADS: usize = 3;

#[derive(Clone, Debug)]
enum Op {
    Open { thread: usize, below: Below },
    Clone { span: usize },
    DropHandle { span: usize },
    Enter { thread: usize, span: usize },
    Exit { thread: usize, from_top: usize },
    Spawn { span: usize, steps: Vec<Step> },
    Poll { thread: usize, future: usize },
    DropFuture { thread: usize, future: usize },
}

#[derive(Clone, Debug)]
enum Below {
    Current,
    Nothing,
    Span(usize),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let (thread, any) = (0..THREADS, 0..64_usize);
    let below = prop_oneof![Just(Below::Current), Just(Below::Nothing), any.clone().prop_map(Below::Span)];
    let steps = prop::collection::vec(prop_oneof![4 => Just(Step::Wait), 1 => Just(Step::Panic)], 0..4);
    let op = prop_oneof![
        2 => (thread.clone(), below).prop_map(|(thread, below)| Op::Open { thread, below }),
        1 => any.clone().prop_map(|span| Op::Clone { span }),
        2 => any.clone().prop_map(|span| Op::DropHandle { span }),
        5 => (thread.clone(), any.clone()).prop_map(|(thread, span)| Op::Enter { thread, span }),
        5 => (thread.clone(), 0..3_usize).prop_map(|(thread, from_top)| Op::Exit { thread, from_top }),
        1 => (any.clone(), steps).prop_map(|(span, steps)| Op::Spawn { span, steps }),
        3 => (thread.clone(), any.clone()).prop_map(|(thread, future)| Op::Poll { thread, future }),
        1 => (thread, any).prop_map(|(thread, future)| Op::DropFuture { thread, future }),
    ];
    prop::collection::vec(op, 1..80)
}

/// What the model knows of a span.
struct Known {
    handles: Vec<Span>,
    /// For exits, which need no handle.
    raw: (tracing::span::Id, Dispatch),
    /// Its id, once it was entered.
    id: Option<SpanId>,
}

struct Model {
    workers: Vec<Worker>,
    spans: Vec<Known>,
    /// The spans that each thread has entered, outermost first. A span that is entered is held by somebody.
    entered: Vec<Vec<(usize, Span)>>,
    futures: Vec<(usize, Kept)>,
}

impl Model {
    fn new() -> Self {
        profiler();
        Self {
            workers: (0..THREADS).map(|_| Worker::new()).collect(),
            spans: Vec::new(),
            entered: (0..THREADS).map(|_| Vec::new()).collect(),
            futures: Vec::new(),
        }
    }

    /// The `number`th of the spans that somebody has a handle of.
    fn held(&self, number: usize) -> Option<usize> {
        let held: Vec<usize> = (0..self.spans.len()).filter(|i| !self.spans[*i].handles.is_empty()).collect();
        held.get(number % held.len().max(1)).copied()
    }

    fn handle(&self, number: usize) -> Option<(usize, Span)> {
        let span = self.held(number)?;
        Some((span, self.spans[span].handles[0].clone()))
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Open { thread, below } => {
                let below = match below {
                    Below::Current => Some(None),
                    Below::Nothing => None,
                    Below::Span(number) => self.handle(number).map(|(_, span)| Some(span)),
                };
                let span = self.workers[thread].run(move || match below {
                    Some(None) => tracing::info_span!("span"),
                    None => tracing::info_span!(parent: None, "span"),
                    Some(Some(parent)) => tracing::info_span!(parent: &parent, "span"),
                });
                let raw = span.with_subscriber(|(id, dispatch)| (id.clone(), dispatch.clone())).unwrap();
                self.spans.push(Known { handles: vec![span], raw, id: None });
            }
            Op::Clone { span } => {
                if let Some((span, handle)) = self.handle(span) {
                    self.spans[span].handles.push(handle);
                }
            }
            Op::DropHandle { span } => {
                if let Some(span) = self.held(span) {
                    self.spans[span].handles.pop();
                }
            }
            Op::Enter { thread, span } => {
                let Some((span, handle)) = self.handle(span) else { return };
                let (id, dispatch) = self.spans[span].raw.clone();
                self.workers[thread].run(move || dispatch.enter(&id));
                self.entered[thread].push((span, handle));
                let now = self.workers[thread].run(current);
                self.learn(span, now);
            }
            Op::Exit { thread, from_top } => {
                let depth = self.entered[thread].len();
                let Some(place) = depth.checked_sub(1 + from_top) else { return };
                // Which of several entries of one span an exit leaves is the innermost.
                let span = self.entered[thread][place].0;
                let place = self.entered[thread].iter().rposition(|(entered, _)| *entered == span).unwrap();
                let (_, handle) = self.entered[thread].remove(place);
                let (id, dispatch) = self.spans[span].raw.clone();
                self.workers[thread].run(move || {
                    dispatch.exit(&id);
                    drop(handle);
                });
            }
            of_future => self.apply_to_future(of_future),
        }
    }

    fn apply_to_future(&mut self, op: Op) {
        match op {
            Op::Spawn { span, steps } => {
                if let Some((span, handle)) = self.handle(span) {
                    let future = Scripted::new(steps).instrument(handle);
                    self.futures.push((span, Kept::new(future)));
                }
            }
            Op::Poll { thread, future } => {
                let Some(at) = future.checked_rem(self.futures.len()) else { return };
                let (span, future) = self.futures.swap_remove(at);
                let (inside, left) = self.workers[thread].run(move || future.poll());
                self.learn(span, inside);
                self.futures.extend(left.map(|future| (span, future)));
            }
            Op::DropFuture { thread, future } => {
                let Some(at) = future.checked_rem(self.futures.len()) else { return };
                let (span, future) = self.futures.swap_remove(at);
                let inside = self.workers[thread].run(move || future.drop_here());
                self.learn(span, inside);
            }
            of_span => unreachable!("{of_span:?}"),
        }
    }

    /// Right after the span was entered, `now` was published: its id from now on.
    fn learn(&mut self, span: usize, now: Option<SpanId>) {
        let id = now.expect("a span that was entered has an id");
        match self.spans[span].id {
            Some(known) => assert_eq!(id, known),
            None => {
                assert!(self.spans.iter().all(|other| other.id != Some(id)), "two spans with one id");
                self.spans[span].id = Some(id);
            }
        }
    }

    fn check(&self) {
        for (worker, entered) in self.workers.iter().zip(&self.entered) {
            let expected = entered.last().and_then(|(span, _)| self.spans[*span].id);
            assert_eq!(worker.run(current), expected, "entered {entered:?}");
        }
    }

    /// Leaves everything, so that the spans close.
    fn finish(mut self) {
        for thread in 0..THREADS {
            while !self.entered[thread].is_empty() {
                self.apply(Op::Exit { thread, from_top: 0 });
                self.check();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_published_span_is_always_the_models(ops in ops()) {
        let mut model = Model::new();
        for op in ops {
            model.apply(op);
            model.check();
        }
        model.finish();
    }
}
