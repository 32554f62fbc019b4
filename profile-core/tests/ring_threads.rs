//! The sample ring between two real threads: every record arrives whole, in order, or is counted as dropped. Without
//! signals, so that `scripts/tsan` can watch.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // Helpers of tests, outside of test functions.
#![allow(unsafe_code)] // the door of this test: memory that only the ring keeps from being a data race

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use profile_core::ring::{Record, Reservation, Ring};

/// Small, so that it wraps and fills up all the time.
const WORDS: usize = 256;
const RECORDS: u64 = if cfg!(miri) { 300 } else { 100_000 };
const OUTER: u32 = 0;
const NESTED: u32 = 1;

#[test]
fn every_record_arrives_whole_in_order_or_is_counted() {
    let ring = Ring::<WORDS>::new();
    let done = AtomicBool::new(false);
    let mut checks = [Check::default(), Check::default()];
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..RECORDS {
                produce(&ring, number);
            }
            done.store(true, Ordering::Release);
        });
        loop {
            let last = done.load(Ordering::Acquire);
            let mut consumer = ring.consumer().expect("the only one");
            let drained = consumer.drain(|record| checks[record.tag() as usize].record(record));
            assert_eq!(drained.corrupt_words, 0);
            for (kind, check) in checks.iter_mut().enumerate() {
                let dropped = consumer.take_dropped(kind);
                check.dropped += dropped.records;
                check.dropped_numbers += dropped.weight;
            }
            if last {
                break;
            }
        }
    });
    for check in checks {
        check.finish(RECORDS);
    }
}

/// The ring's words are atomics, for which no sanitizer reports a race. So each record stands for a slot of plain
/// memory here: written by the producer while it writes the record, read by the consumer while it reads that. All
/// records have two words, hence a reservation succeeds only when the record half a ring's words ago has been read.
#[test]
fn what_a_record_stands_for_is_handed_over_with_it() {
    const SLOTS: usize = WORDS / 2;
    struct Slots([UnsafeCell<u64>; SLOTS]);
    // SAFETY: a slot is accessed by whoever the ring says owns the record that stands for it; if the ring is wrong,
    // this is a data race, and to find that is what the test is for.
    unsafe impl Sync for Slots {}
    let slots = Slots(std::array::from_fn(|_| UnsafeCell::new(0)));
    let slots = &slots; // the closures shall borrow the whole, which is `Sync`, not its field
    let ring = Ring::<WORDS>::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0;
            while number < RECORDS {
                let Some(mut record) = ring.reserve(1) else {
                    thread::yield_now();
                    continue;
                };
                let slot = slots.0[number as usize % SLOTS].get();
                // SAFETY: the record that last stood for this slot has been read, or there would be no room.
                unsafe { slot.write(number) };
                record.push(number);
                record.commit(0);
                number += 1;
            }
        });
        let mut number = 0;
        while number < RECORDS {
            let drained = ring.consumer().expect("the only one").drain(|record| {
                assert_eq!(record.get(0), Some(number));
                let slot = slots.0[number as usize % SLOTS].get();
                // SAFETY: the producer wrote the slot before it published the record, and writes it again only when
                // the ring has got the record's words back, after this callback.
                assert_eq!(unsafe { slot.read() }, number);
                number += 1;
            });
            assert_eq!(drained.corrupt_words, 0);
            if drained.records == 0 {
                thread::yield_now();
            }
        }
    });
}

/// An outer record with another one nested in it, as if a signal handler wrote that. Each may be refused.
fn produce(ring: &Ring<WORDS>, number: u64) {
    let outer = ring.reserve(32);
    write(ring, ring.reserve(20), NESTED, number);
    write(ring, outer, OUTER, number);
}

/// Writes and commits the record of this tag and number, or counts its refusal.
fn write(ring: &Ring<WORDS>, reserved: Option<Reservation<'_, WORDS>>, tag: u32, number: u64) {
    let Some(mut record) = reserved else {
        ring.count_dropped(tag as usize, number);
        thread::yield_now();
        return;
    };
    for word in payload(tag, number) {
        assert!(record.push(word));
    }
    record.commit(tag);
}

/// The number itself, then up to 15 words that depend on it.
fn payload(tag: u32, number: u64) -> impl Iterator<Item = u64> {
    let mix = move |i: u64| (number << 8 | u64::from(tag) << 4 | i).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    std::iter::once(number).chain((0..mix(0) >> 60).map(mix))
}

/// What has been seen of one kind of record.
#[derive(Default)]
struct Check {
    received: u64,
    received_numbers: u64,
    dropped: u64,
    dropped_numbers: u64,
    next: u64,
}

impl Check {
    fn record(&mut self, record: Record<'_, WORDS>) {
        let number = record.get(0).unwrap_or(u64::MAX);
        assert!(number >= self.next, "{number} after {}", self.next);
        assert!(record.words().eq(payload(record.tag(), number)), "torn: {record:?}");
        self.next = number + 1;
        self.received += 1;
        self.received_numbers += number;
    }

    fn finish(self, produced: u64) {
        assert_eq!(self.received + self.dropped, produced, "records");
        assert_eq!(self.received_numbers + self.dropped_numbers, produced * (produced - 1) / 2, "which ones");
        assert!(self.received > produced / 100, "only {} of {produced} found room", self.received);
    }
}
