use super::super::header::{Header, MAX_TOTAL};
use super::super::{DROP_KINDS, Drained, Dropped, Ring};
use super::{drain, payload, produce, record};
use crate::sync::Ordering;

#[test]
fn records_come_out_as_they_went_in() {
    let ring = Ring::<64>::new();
    assert!(produce(&ring, 1, 3, 3));
    assert!(produce(&ring, u32::MAX, 0, 5));
    assert!(produce(&ring, 3, 7, 20));
    assert_eq!(drain(&ring), [record(1, 3), record(u32::MAX, 0), record(3, 7)]);
    assert_eq!(drain(&ring), []);
}

#[test]
fn any_record_length_wraps_at_any_offset() {
    for len in 0..16 {
        let ring = Ring::<16>::new();
        // Lengths and 16 need not be coprime; a record of one word shifts the start after each lap.
        for tag in 0..200 {
            assert!(produce(&ring, tag, len, len));
            assert_eq!(drain(&ring), [record(tag, len)], "length {len}");
            if tag % 16 == 0 {
                assert!(produce(&ring, 0, 0, 0));
                assert_eq!(drain(&ring).len(), 1);
            }
        }
    }
}

#[test]
fn a_full_ring_refuses_and_keeps_what_it_has() {
    let ring = Ring::<16>::new();
    assert!(produce(&ring, 1, 7, 7));
    assert!(!produce(&ring, 2, 0, 8), "9 words into 8");
    assert!(produce(&ring, 3, 7, 7), "exactly full");
    assert!(!produce(&ring, 4, 0, 0), "not even an empty record");
    assert_eq!(drain(&ring), [record(1, 7), record(3, 7)]);
    assert!(produce(&ring, 5, 15, 15), "one record may fill it");
    assert_eq!(drain(&ring), [record(5, 15)]);
    assert!(!produce(&ring, 6, 0, 16), "longer than the ring");
}

#[test]
fn room_not_used_is_given_back() {
    let ring = Ring::<16>::new();
    for tag in 0..8 {
        assert!(produce(&ring, tag, 1, 1), "record {tag} takes 2 words of 16");
    }
    assert_eq!(drain(&ring).len(), 8);
    assert!(produce(&ring, 8, 1, 15), "2 used of 16 reserved");
    assert!(produce(&ring, 9, 13, 13), "14 are left");
    assert_eq!(drain(&ring), [record(8, 1), record(9, 13)]);
}

#[test]
fn a_reservation_that_is_not_committed_leaves_no_trace() {
    let ring = Ring::<16>::new();
    let mut given_up = ring.reserve(15).expect("empty ring");
    assert!(given_up.push(7));
    drop(given_up);
    assert_eq!(drain(&ring), []);
    assert!(produce(&ring, 1, 15, 15), "all room is back");
    assert_eq!(drain(&ring), [record(1, 15)]);
}

#[test]
fn a_reservation_takes_as_many_words_as_it_asked_for() {
    let ring = Ring::<16>::new();
    let mut open = ring.reserve(2).expect("empty ring");
    assert!(open.is_empty() && !open.set(0, 1), "nothing to replace yet");
    assert!(open.push(10) && open.push(11));
    assert!(!open.push(12), "no third word");
    assert!(open.set(1, 21) && !open.set(2, 22));
    assert_eq!(open.len(), 2);
    open.commit(5);
    assert_eq!(drain(&ring), [(5, vec![10, 21])]);
}

#[test]
fn the_longest_record_is_limited_by_its_header() {
    let check = || {
        let ring = Ring::<{ 1 << 16 }>::new();
        let longest = MAX_TOTAL as usize - 1;
        assert!(
            ring.reserve(longest + 1).is_none(),
            "there is space for it, but its length cannot be written"
        );
        assert!(ring.reserve(usize::MAX).is_none());
        assert!(produce(&ring, 1, longest, longest));
        assert_eq!(drain(&ring), [record(1, longest)]);
    };
    // Without optimisation the ring's half mebibyte is moved over the stack several times.
    let large_stack = std::thread::Builder::new().stack_size(16 << 20);
    large_stack.spawn(check).expect("a thread").join().expect("the check holds");
}

#[test]
fn an_open_record_holds_back_what_is_nested_in_it() {
    let ring = Ring::<32>::new();
    let mut outer = ring.reserve(10).expect("empty ring");
    assert!(produce(&ring, 2, 1, 4));
    assert_eq!(drain(&ring), [], "neither the open record nor what lies behind it");
    for word in payload(1, 3) {
        assert!(outer.push(word));
    }
    outer.commit(1);
    assert_eq!(drain(&ring), [record(1, 3), record(2, 1)]);
    assert_eq!(
        ring.producer.reserved.load(Ordering::Relaxed),
        13,
        "11 for the padded outer one, 2 for the nested"
    );
}

#[test]
fn an_open_record_that_is_given_up_becomes_padding_before_what_is_nested_in_it() {
    let ring = Ring::<32>::new();
    let outer = ring.reserve(10).expect("empty ring");
    assert!(produce(&ring, 2, 1, 1));
    drop(outer);
    assert_eq!(drain(&ring), [record(2, 1)]);
}

#[test]
fn a_nested_producer_that_never_ends_is_padding() {
    let ring = Ring::<32>::new();
    let mut outer = ring.reserve(1).expect("empty ring");
    std::mem::forget(ring.reserve(4));
    for word in payload(1, 1) {
        assert!(outer.push(word));
    }
    outer.commit(1);
    assert!(produce(&ring, 2, 2, 2), "and the ring goes on");
    assert_eq!(drain(&ring), [record(1, 1), record(2, 2)]);
}

#[test]
fn lengths_that_make_no_sense_are_given_up_and_reported() {
    let nonsense = [
        Header { total: 0, used: 0, tag: 0 },
        Header { total: 0, used: 2, tag: 0 },
        Header { total: 10, used: 2, tag: 0 }, // more than is published
        Header { total: 2, used: 3, tag: 0 },
        Header { total: MAX_TOTAL, used: MAX_TOTAL, tag: u32::MAX },
    ];
    for header in nonsense {
        let ring = Ring::<16>::new();
        for tag in 0..4 {
            assert!(produce(&ring, tag, 2, 2));
        }
        ring.word(3).store(header.to_word()); // the second of four records
        let mut seen = Vec::new();
        let drained = ring.consumer().unwrap().drain(|record| seen.push(record.tag()));
        assert_eq!((seen, drained), (vec![0], Drained { records: 1, corrupt_words: 9 }), "{header:?}");
        assert!(produce(&ring, 9, 15, 15), "the ring is empty and goes on");
        assert_eq!(drain(&ring), [record(9, 15)]);
    }
}

#[test]
fn positions_that_make_no_sense_are_given_up_and_reported() {
    for (tail, head) in [(0, 17), (5, 3), (u64::MAX, 0), (0, u64::MAX), (u64::MAX, u64::MAX - 1)] {
        let ring = Ring::<16>::new();
        ring.consumer.tail.store(tail, Ordering::Relaxed);
        ring.producer.head.store(head, Ordering::Relaxed);
        let drained = ring.consumer().unwrap().drain(|record| panic!("there is no {record:?}"));
        assert!(drained.records == 0 && (1..=16).contains(&drained.corrupt_words), "{drained:?}");
        assert_eq!(ring.consumer().unwrap().drain(|_| ()), Drained::default());
        // Whatever `reserved` is in relation to this, a producer neither panics nor hangs.
        for reserved in [0, head.wrapping_sub(1), u64::MAX] {
            ring.producer.reserved.store(reserved, Ordering::Relaxed);
            ring.producer.depth.store(u64::MAX, Ordering::Relaxed);
            let _ = produce(&ring, 1, 2, 2);
        }
    }
}

#[test]
fn there_is_one_consumer_at_a_time() {
    let ring = Ring::<16>::new();
    let first = ring.consumer().expect("none yet");
    assert!(ring.consumer().is_none());
    drop(first);
    assert!(ring.consumer().is_some());
}

#[test]
fn a_record_whose_reader_panicked_is_delivered_again() {
    let ring = Ring::<16>::new();
    assert!(produce(&ring, 1, 2, 2) && produce(&ring, 2, 2, 2));
    let first = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = ring.consumer().unwrap().drain(|record| assert_eq!(record.tag(), 1));
    }));
    assert!(first.is_err());
    assert_eq!(drain(&ring), [record(2, 2)]);
}

#[test]
fn a_record_is_read_by_index_and_in_order() {
    let ring = Ring::<16>::new();
    assert!(produce(&ring, 1, 3, 3) && produce(&ring, 2, 0, 0));
    let mut seen = Vec::new();
    let _ = ring.consumer().unwrap().drain(|record| {
        assert_eq!(record.words().len(), record.len());
        assert_eq!(record.get(record.len()), None);
        seen.push((record.is_empty(), record.get(2), record.words().nth(2)));
    });
    let third = Some(payload(1, 3)[2]);
    assert_eq!(seen, [(false, third, third), (true, None, None)]);
}

#[test]
fn drops_are_counted_by_kind_and_taken_once() {
    let ring = Ring::<16>::new();
    ring.count_dropped(0, 3);
    ring.count_dropped(0, 4);
    ring.count_dropped(DROP_KINDS - 1, 1);
    ring.count_dropped(usize::MAX, 1);
    let mut consumer = ring.consumer().unwrap();
    assert_eq!(consumer.take_dropped(0), Dropped { records: 2, weight: 7 });
    assert_eq!(consumer.take_dropped(0), Dropped::default());
    assert_eq!(consumer.take_dropped(1), Dropped::default());
    assert_eq!(consumer.take_dropped(usize::MAX), Dropped { records: 2, weight: 2 });
}

#[test]
fn a_reset_ring_is_as_new_but_owes_its_drops() {
    let ring = Ring::<16>::new();
    assert!(produce(&ring, 1, 4, 4));
    ring.count_dropped(2, 5);
    std::mem::forget(ring.reserve(2)); // its thread died inside a record
    assert!(produce(&ring, 2, 1, 1));
    let mut consumer = ring.consumer().unwrap();
    assert_eq!(consumer.drain(|_| ()), Drained { records: 1, corrupt_words: 0 });
    assert_eq!(consumer.reset(), 5, "3 reserved words and 2 behind them were never published");
    assert_eq!(consumer.take_dropped(2), Dropped { records: 1, weight: 5 });
    drop(consumer);
    assert!(produce(&ring, 3, 15, 15));
    assert_eq!(drain(&ring), [record(3, 15)]);
    assert_eq!(ring.consumer().unwrap().reset(), 0);
}

#[test]
fn a_default_ring_takes_32_kib_and_little_more() {
    let overhead = size_of::<Ring>() - super::super::DEFAULT_WORDS * size_of::<u64>();
    assert!(overhead <= 256, "{overhead}");
}
