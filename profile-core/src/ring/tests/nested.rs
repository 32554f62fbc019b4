//! Producers interrupted at every step: before each of the atomic operations of an outer producer, a complete nested
//! one runs, as in a signal handler. What a consumer on another processor might see at that moment is looked at too.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use super::super::Ring;
use super::{Owned, drain_into, payload, produce, record};
use crate::sync::Ordering;
use crate::sync::interruptible::with_interrupts;

type SmallRing = Ring<32>;

/// What a producer does with its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// Uses all it reserved.
    Exact,
    /// Uses less than it reserved.
    Shrunk,
    /// Is dropped half written.
    GivenUp,
    /// Is never ended, as if `longjmp` left the handler.
    Forgotten,
    /// Asks for more than there is.
    Refused,
}

const ACTS: [Act; 5] = [Act::Exact, Act::Shrunk, Act::GivenUp, Act::Forgotten, Act::Refused];

impl Act {
    /// Acts with a record of this tag; returns the record that must come out.
    fn run(self, ring: &SmallRing, tag: u32) -> Option<Owned> {
        match self {
            Self::Exact => produce(ring, tag, 3, 3).then(|| record(tag, 3)),
            Self::Shrunk => produce(ring, tag, 2, 7).then(|| record(tag, 2)),
            Self::GivenUp | Self::Forgotten => {
                let mut open = ring.reserve(4)?;
                for word in payload(tag, 2) {
                    assert!(open.push(word));
                }
                if self == Self::Forgotten {
                    std::mem::forget(open);
                }
                None
            }
            Self::Refused => {
                assert!(!produce(ring, tag, 0, 32));
                None
            }
        }
    }
}

/// What has happened to a ring so far.
#[derive(Clone)]
struct Trace {
    ring: Rc<SmallRing>,
    committed: Rc<RefCell<Vec<Owned>>>,
    delivered: Rc<RefCell<Vec<Owned>>>,
}

impl Trace {
    /// A ring whose positions start shortly before a wrap.
    fn new() -> Self {
        let ring = Rc::new(SmallRing::new());
        assert!(produce(&ring, 0, 27, 27));
        drain_into(&ring, &mut Vec::new());
        Self { ring, committed: Rc::default(), delivered: Rc::default() }
    }

    fn act(&self, act: Act, tag: u32) {
        if let Some(record) = act.run(&self.ring, tag) {
            self.committed.borrow_mut().push(record);
        }
    }

    fn consume(&self) {
        drain_into(&self.ring, &mut self.delivered.borrow_mut());
    }

    /// The outermost producer has just ended: every record is out, once, whole, and the ring is at rest.
    fn check(&self, context: &str) {
        self.consume();
        let sorted = |records: &RefCell<Vec<Owned>>| {
            let mut records = records.borrow().clone();
            records.sort();
            records
        };
        assert_eq!(sorted(&self.delivered), sorted(&self.committed), "{context}");
        let producer = &self.ring.producer;
        let reserved = producer.reserved.load(Ordering::Relaxed);
        assert_eq!(producer.head.load(Ordering::Relaxed), reserved, "{context}");
        assert_eq!(producer.depth.load(Ordering::Relaxed), 0, "{context}");
        assert!(produce(&self.ring, 99, 31, 31), "{context}: all room is back");
    }
}

/// A handler that counts its calls and runs `action` in the calls numbered in `steps`.
fn at_steps(
    steps: &[usize],
    mut action: impl FnMut() + 'static,
) -> (Rc<Cell<usize>>, impl FnMut() + 'static) {
    let steps: BTreeSet<usize> = steps.iter().copied().collect();
    let count = Rc::new(Cell::new(0));
    let counted = Rc::clone(&count);
    let handler = move || {
        if steps.contains(&counted.replace(counted.get() + 1)) {
            action();
        }
    };
    (count, handler)
}

/// The acts of an outermost producer: one that is never ended stops its ring by design.
fn outer_acts() -> impl Iterator<Item = Act> {
    ACTS.into_iter().filter(|&act| act != Act::Forgotten)
}

#[test]
fn a_producer_interrupted_at_any_step_by_any_other() {
    for outer in outer_acts() {
        // A forgotten one that runs before the outer producer has begun is outermost itself.
        for nested in ACTS.into_iter().filter(|&act| act != Act::Forgotten) {
            let mut step = 0;
            loop {
                let trace = Trace::new();
                let inner = trace.clone();
                let (steps, handler) = at_steps(&[step], move || inner.act(nested, 2));
                with_interrupts(handler, || trace.act(outer, 1));
                trace.check(&format!("{outer:?} interrupted at {step} by {nested:?}"));
                step += 1;
                if step > steps.get() {
                    break;
                }
            }
            assert!(step > 5, "{outer:?} has more than {step} steps");
        }
    }
}

#[test]
fn a_nested_producer_that_never_ends_harms_only_itself() {
    for outer in [Act::Exact, Act::Shrunk, Act::GivenUp] {
        for step in 0..20 {
            let trace = Trace::new();
            let inner = trace.clone();
            // Only inside of the outer record, so neither before its first line nor after its last but one.
            let (_, handler) = at_steps(&[step], move || {
                if inner.ring.producer.depth.load(Ordering::Relaxed) == 1 {
                    inner.act(Act::Forgotten, 2);
                }
            });
            with_interrupts(handler, || trace.act(outer, 1));
            trace.check(&format!("{outer:?} with a leak at {step}"));
        }
    }
}

#[test]
fn a_producer_interrupted_twice() {
    for outer in outer_acts() {
        for first in 0..20 {
            for second in first + 1..20 {
                let trace = Trace::new();
                let inner = trace.clone();
                let mut acts = [(Act::Shrunk, 2), (Act::Exact, 3)].into_iter();
                let (_, handler) = at_steps(&[first, second], move || {
                    if let Some((act, tag)) = acts.next() {
                        inner.act(act, tag);
                    }
                });
                with_interrupts(handler, || trace.act(outer, 1));
                trace.check(&format!("{outer:?} interrupted at {first} and {second}"));
            }
        }
    }
}

#[test]
fn a_producer_interrupted_while_it_interrupts() {
    for outer in outer_acts() {
        for nested in [Act::Exact, Act::Shrunk, Act::GivenUp, Act::Refused] {
            for step in 0..20 {
                for deeper_step in 0..20 {
                    let trace = Trace::new();
                    let inner = trace.clone();
                    let (_, handler) = at_steps(&[step], move || {
                        let innermost = inner.clone();
                        let (_, handler) = at_steps(&[deeper_step], move || innermost.act(Act::Shrunk, 3));
                        with_interrupts(handler, || inner.act(nested, 2));
                    });
                    with_interrupts(handler, || trace.act(outer, 1));
                    trace.check(&format!("{outer:?} at {step} by {nested:?} at {deeper_step} by Shrunk"));
                }
            }
        }
    }
}

#[test]
fn a_consumer_that_looks_at_every_step_sees_whole_records_only() {
    for outer in outer_acts() {
        for step in 0..20 {
            let trace = Trace::new();
            let inner = trace.clone();
            let mut call = 0;
            let handler = move || {
                inner.consume();
                if call == step {
                    let looking = inner.clone();
                    with_interrupts(move || looking.consume(), || inner.act(Act::Shrunk, 2));
                }
                call += 1;
                // What was delivered so far is committed, except the record of a producer in its last steps.
                for seen in inner.delivered.borrow().iter() {
                    assert!(
                        [record(1, 2), record(1, 3), record(2, 2)].contains(seen),
                        "{outer:?}: torn {seen:?}"
                    );
                }
            };
            with_interrupts(handler, || trace.act(outer, 1));
            trace.check(&format!("{outer:?} watched, interrupted at {step}"));
        }
    }
}

#[test]
fn nothing_of_an_open_record_is_seen_at_any_step() {
    let trace = Trace::new();
    let inner = trace.clone();
    let handler = move || {
        inner.act(Act::Exact, 2);
        inner.consume();
        assert_eq!(*inner.delivered.borrow(), [], "before the outer one ended");
        assert_eq!(inner.ring.producer.head.load(Ordering::Relaxed), 28);
    };
    let mut open = trace.ring.reserve(5).expect("room");
    with_interrupts(handler, || {
        for word in payload(1, 3) {
            assert!(open.push(word));
        }
    });
    open.commit(1);
    trace.committed.borrow_mut().push(record(1, 3));
    trace.check("after a storm inside of the record");
}

#[test]
fn a_producer_interrupted_at_all_steps_gives_up_in_the_end() {
    let ring = Rc::new(Ring::<1024>::new());
    let inner = Rc::clone(&ring);
    let produced = Rc::new(Cell::new(0_u32));
    let counter = Rc::clone(&produced);
    let handler = move || {
        counter.set(counter.get() + 1);
        assert!(produce(&inner, counter.get(), 1, 1));
    };
    let refused = with_interrupts(handler, || ring.reserve(4).is_none());
    assert!(refused, "each attempt found that another record had come");
    let mut delivered = Vec::new();
    drain_into(&ring, &mut delivered);
    let expected: Vec<Owned> = (1..=produced.get()).map(|tag| record(tag, 1)).collect();
    assert_eq!(delivered, expected, "and all of those are out");
}
