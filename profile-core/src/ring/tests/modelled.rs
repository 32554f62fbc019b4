//! The ring between threads, under every interleaving and every outcome of relaxed memory that loom finds within its
//! bound of preemptions (`LOOM_MAX_PREEMPTIONS`, or 4). Run by `scripts/loom`; each name starts with `loom_`.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::Ring;
use super::{Owned, drain_into, produce, record};
use crate::sync::interruptible::with_interrupts;
use crate::sync::{Arc, thread};

/// A producer in these tests takes so many steps, or a few more when it is interrupted.
const STEPS: usize = 13;

/// The kind under which these tests count refused records.
const KIND: usize = 0;

fn check(model: impl Fn() + Send + Sync + 'static) {
    let executions = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&executions);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(4));
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let executions = executions.load(Ordering::Relaxed);
    assert!(
        executions >= 10,
        "loom saw only {executions} executions: it did not find what the threads share"
    );
}

/// Produces a record, or counts its refusal with the tag as its weight.
fn produce_or_count<const WORDS: usize>(ring: &Ring<WORDS>, tag: u32, len: usize, room: usize) {
    if !produce(ring, tag, len, room) {
        ring.count_dropped(KIND, u64::from(tag));
    }
}

/// Runs `producer` beside a consumer that drains `drains` times, and once more at the end. Returns the records in
/// their order, and the number and weight of the refused ones.
fn beside_a_consumer<const WORDS: usize>(
    drains: usize,
    producer: impl FnOnce(Arc<Ring<WORDS>>) + Send + 'static,
) -> (Vec<Owned>, u64, u64) {
    let ring = Arc::new(Ring::<WORDS>::new());
    let producing = {
        let ring = Arc::clone(&ring);
        thread::spawn(move || producer(ring))
    };
    let mut out = Vec::new();
    let (mut records, mut weight) = (0, 0);
    for _ in 0..drains {
        drain_into(&ring, &mut out);
        let dropped = ring.consumer().expect("the only one").take_dropped(KIND);
        (records, weight) = (records + dropped.records, weight + dropped.weight);
    }
    producing.join().expect("the producer ends");
    drain_into(&ring, &mut out);
    let dropped = ring.consumer().expect("the only one").take_dropped(KIND);
    (out, records + dropped.records, weight + dropped.weight)
}

/// All records are `expected`, in order, but for those whose refusal was counted.
fn assert_complete((out, refused, weight): (Vec<Owned>, u64, u64), expected: &[Owned]) {
    let mut left = expected.iter();
    assert!(out.iter().all(|seen| left.any(|next| next == seen)), "{out:?} is no part of {expected:?}");
    let missing = expected.iter().filter(|record| !out.contains(record));
    assert_eq!(
        (out.len() as u64 + refused, weight),
        (expected.len() as u64, missing.map(|r| u64::from(r.0)).sum())
    );
}

#[test]
fn loom_records_arrive_whole_in_order_or_counted() {
    check(|| {
        let outcome = beside_a_consumer::<4>(1, |ring| {
            for tag in 1..=3 {
                produce_or_count(&ring, tag, 1, 1); // the third needs the space of the first
            }
        });
        assert_complete(outcome, &[record(1, 1), record(2, 1), record(3, 1)]);
    });
}

#[test]
fn loom_space_is_reused_only_after_it_was_read() {
    check(|| {
        let outcome = beside_a_consumer::<2>(2, |ring| {
            for tag in 1..=3 {
                produce_or_count(&ring, tag, 1, 1); // each fills the ring
            }
        });
        assert_complete(outcome, &[record(1, 1), record(2, 1), record(3, 1)]);
    });
}

#[test]
fn loom_records_of_many_lengths_wrap_and_shrink() {
    check(|| {
        let outcome = beside_a_consumer::<4>(1, |ring| {
            produce_or_count(&ring, 1, 2, 2);
            produce_or_count(&ring, 2, 0, 3);
            drop(ring.reserve(0));
            produce_or_count(&ring, 3, 2, 2);
        });
        assert_complete(outcome, &[record(1, 2), record(2, 0), record(3, 2)]);
    });
}

#[test]
fn loom_a_nested_producer_beside_a_consumer() {
    for step in 0..STEPS {
        check(move || assert_nested::<8>(step)); // room for both
        check(move || assert_nested::<4>(step)); // for one, unless the consumer makes room
    }
}

/// Interrupts the producer of record 1 at a step by that of record 2.
fn assert_nested<const WORDS: usize>(step: usize) {
    let (mut out, refused, weight) = beside_a_consumer::<WORDS>(1, move |ring| {
        let nested = Arc::clone(&ring);
        let call = Rc::new(Cell::new(0));
        let counted = Rc::clone(&call);
        let handler = move || {
            if counted.replace(counted.get() + 1) == step {
                produce_or_count(&nested, 2, 0, 1);
            }
        };
        with_interrupts(handler, || produce_or_count(&ring, 1, 1, 2));
        if WORDS > 4 {
            assert!((STEPS..STEPS + 4).contains(&call.get()), "a producer takes {} steps", call.get());
        }
    });
    out.sort(); // which one comes first depends on the step
    assert!(refused == 0 || WORDS <= 4);
    assert_complete((out, refused, weight), &[record(1, 1), record(2, 0)]);
}

#[test]
fn loom_consumers_in_turn_deliver_each_record_once() {
    check(|| {
        let ring = Arc::new(Ring::<8>::new());
        let expected: Vec<Owned> = (1..=2).map(|tag| record(tag, 0)).collect();
        assert!(produce(&ring, 1, 0, 0) && produce(&ring, 2, 0, 0));
        let other = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || drain_if_free(&ring))
        };
        let mut out = drain_if_free(&ring);
        out.extend(other.join().expect("the other consumer ends"));
        out.extend(drain_if_free(&ring));
        out.sort();
        assert_eq!(out, expected);
    });
}

fn drain_if_free<const WORDS: usize>(ring: &Ring<WORDS>) -> Vec<Owned> {
    let mut out = Vec::new();
    if let Some(mut consumer) = ring.consumer() {
        let drained = consumer.drain(|record| out.push((record.tag(), record.words().collect())));
        assert_eq!(drained.corrupt_words, 0);
    }
    out
}
