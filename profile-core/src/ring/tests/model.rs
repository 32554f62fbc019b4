//! Random producers, nested at random steps, and random drains, against a model: a map from a record's position to
//! its content.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use proptest::prelude::*;

use super::super::Ring;
use super::payload;
use crate::sync::Ordering;
use crate::sync::interruptible::with_interrupts;

const WORDS: usize = 64;
const DEEPEST: usize = 4;

#[derive(Clone, Copy, Debug)]
enum Op {
    /// Reserves `room` payload words, pushes up to `len` of them, and commits or gives up.
    Produce {
        room: usize,
        len: usize,
        commit: bool,
    },
    Drain,
    /// No interruption here.
    Pause,
}

/// What should be in the ring, and the operations still to come.
struct Model {
    ring: Ring<WORDS>,
    script: RefCell<std::vec::IntoIter<Op>>,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    /// Committed and not delivered, by position. A `BTreeMap`, as the nested record behind may be committed first.
    waiting: BTreeMap<u64, (u32, Vec<u64>)>,
    next_tag: u32,
    /// Where the last delivered record was.
    last: Option<u64>,
    delivered: usize,
    refused: usize,
}

impl Model {
    /// Runs `op` at a nesting depth; deeper operations are taken from the script wherever it can be interrupted.
    fn run(self: &Rc<Self>, op: Op, depth: usize) {
        match op {
            Op::Pause => {}
            Op::Drain => self.drain(),
            Op::Produce { room, len, commit } => {
                let inner = Rc::clone(self);
                let handler = move || {
                    let op = if depth < DEEPEST { inner.script.borrow_mut().next() } else { None };
                    if let Some(op) = op {
                        inner.run(op, depth + 1);
                    }
                };
                with_interrupts(handler, || self.produce(room, len.min(room), commit));
            }
        }
    }

    fn produce(&self, room: usize, len: usize, commit: bool) {
        let Some(mut record) = self.ring.reserve(room) else {
            self.state.borrow_mut().refused += 1;
            return;
        };
        let tag = {
            let mut state = self.state.borrow_mut();
            state.next_tag += 1;
            state.next_tag
        };
        let words = payload(tag, len);
        for &word in &words {
            assert!(record.push(word));
        }
        if commit {
            let replaced = self.state.borrow_mut().waiting.insert(record.start, (tag, words));
            assert!(replaced.is_none(), "two records at {}", record.start);
            record.commit(tag);
        }
    }

    fn drain(&self) {
        let mut consumer = self.ring.consumer().expect("drains do not nest");
        let state = &mut *self.state.borrow_mut();
        let drained = consumer.drain(|record| {
            assert!(state.last < Some(record.start), "order");
            state.last = Some(record.start);
            let expected = state.waiting.remove(&record.start);
            assert_eq!(Some((record.tag(), record.words().collect())), expected);
            state.delivered += 1;
        });
        assert_eq!(drained.corrupt_words, 0);
    }
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..24_usize, 0..24_usize, prop::bool::weighted(0.9))
            .prop_map(|(room, len, commit)| Op::Produce { room, len, commit }),
        1 => Just(Op::Drain),
        12 => Just(Op::Pause),
    ]
}

proptest! {
    #[test]
    fn every_record_arrives_once_in_order_and_whole(script in prop::collection::vec(op(), 1..300)) {
        let model = Rc::new(Model {
            ring: Ring::new(),
            script: RefCell::new(script.into_iter()),
            state: RefCell::default(),
        });
        loop {
            let op = model.script.borrow_mut().next();
            let Some(op) = op else { break };
            model.run(op, 0);
            // Nothing is open now: all that was committed is published.
            let producer = &model.ring.producer;
            prop_assert_eq!(producer.depth.load(Ordering::Relaxed), 0);
            prop_assert_eq!(
                producer.head.load(Ordering::Relaxed),
                producer.reserved.load(Ordering::Relaxed)
            );
        }
        model.drain();
        prop_assert!(model.state.borrow().waiting.is_empty());
        let refused = model.state.borrow().refused;
        prop_assert!(model.ring.reserve(WORDS - 1).is_some(), "all room is back ({refused} were refused)");
    }
}
