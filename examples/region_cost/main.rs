//! The cost of `#[profiled(span = false)]`: `scripts/region-cost` counts the instructions of [`sampled`] and
//! [`unsampled`] and subtracts those of [`bare`]. Counts do not depend on what else the machine does.

use profile_layer::{Profiler, profiled};
use std::hint::black_box;

const CALLS: u64 = 10_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    many(bare);
    many(unsampled);
    let profiler = Profiler::builder().with_frequency(1).build()?;
    black_box(first(1)); // this thread is known from here on
    black_box(sampled(1)); // and this region
    profiler.shutdown()?; // entering costs the same, and no signal comes in between
    many(sampled);
    Ok(())
}

fn many(call: fn(u64) -> u64) {
    let sum: u64 = (0..CALLS).map(|value| call(black_box(value))).sum();
    black_box(sum);
}

#[inline(never)]
fn bare(value: u64) -> u64 {
    black_box(value)
}

/// No profiler was ever there.
#[profiled(span = false)]
#[inline(never)]
fn unsampled(value: u64) -> u64 {
    black_box(value)
}

#[profiled(span = false)]
#[inline(never)]
fn first(value: u64) -> u64 {
    black_box(value)
}

#[profiled(span = false)]
#[inline(never)]
fn sampled(value: u64) -> u64 {
    black_box(value)
}
