//! The cost of handing one sample to the ring: reserve, 8 header words, 30 frames, commit.
//!
//! `cargo run --release -p profile-core --example ring_cost` prints the time of a warm record; `scripts/ring-cost`
//! counts the instructions of [`append`], which does not depend on what else the machine does.

#![allow(clippy::print_stdout)] // what this program is for

use std::hint::black_box;
use std::time::Instant;

use profile_core::ring::Ring;

/// Drained in between, so that records always find room, and wrap.
const BATCH: u32 = 80;
const BATCHES: u32 = 500;
/// What a capture reserves before it knows the depth of the stack.
const RESERVED: usize = 8 + 128;

fn main() {
    let ring: Box<Ring> = Box::default();
    let frames: Vec<u64> = (0..30).map(|i| 0x5500_0000_0000 + i * 64).collect();
    let mut best = f64::INFINITY;
    let mut records = 0;
    for _ in 0..BATCHES {
        let start = Instant::now();
        for _ in 0..BATCH {
            black_box(append(black_box(&ring), black_box(&frames)));
        }
        best = best.min(start.elapsed().as_secs_f64() / f64::from(BATCH));
        records += ring.consumer().map_or(0, |mut consumer| consumer.drain(|_| ()).records);
    }
    println!("{:.1} ns a record of 8 + 30 words, best of {BATCHES} batches; {records} records", best * 1e9);
}

#[inline(never)]
fn append(ring: &Ring, frames: &[u64]) -> bool {
    let Some(mut record) = ring.reserve(RESERVED) else { return false };
    for word in 0..8 {
        record.push(word);
    }
    for &frame in frames {
        record.push(frame);
    }
    record.set(7, record.len() as u64);
    record.commit(1);
    true
}
