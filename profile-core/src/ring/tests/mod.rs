//! The ring by itself (`basics`), with producers interrupted at every step (`nested`), against a model with random
//! operations (`model`), and between threads under the model checker (`modelled`, with `scripts/loom`). Real threads
//! and real signals are in `tests/ring_*.rs`.

#[cfg(not(loom))]
mod basics;
#[cfg(not(loom))]
mod model;
#[cfg(loom)]
mod modelled;
#[cfg(not(loom))]
mod nested;

use super::{Drained, Ring};

/// A record as it came out of a ring.
type Owned = (u32, Vec<u64>);

/// The payload that belongs to a tag: `len` words, all different, and different for each tag.
fn payload(tag: u32, len: usize) -> Vec<u64> {
    (0..len as u64).map(|i| u64::from(tag) << 32 | i << 8 | 0xA5).collect()
}

/// Writes the record of a `tag` in a reservation of `room` payload words; `false` if it was refused.
fn produce<const WORDS: usize>(ring: &Ring<WORDS>, tag: u32, len: usize, room: usize) -> bool {
    let Some(mut record) = ring.reserve(room) else { return false };
    for word in payload(tag, len) {
        assert!(record.push(word));
    }
    record.commit(tag);
    true
}

/// Moves all published records to `out`.
fn drain_into<const WORDS: usize>(ring: &Ring<WORDS>, out: &mut Vec<Owned>) {
    let mut consumer = ring.consumer().expect("one consumer at a time");
    let before = out.len() as u64;
    let drained = consumer.drain(|record| out.push((record.tag(), record.words().collect())));
    assert_eq!(drained, Drained { records: out.len() as u64 - before, corrupt_words: 0 });
}

/// All published records.
#[cfg(not(loom))]
fn drain<const WORDS: usize>(ring: &Ring<WORDS>) -> Vec<Owned> {
    let mut out = Vec::new();
    drain_into(ring, &mut out);
    out
}

/// The record that `produce` writes.
fn record(tag: u32, len: usize) -> Owned {
    (tag, payload(tag, len))
}
