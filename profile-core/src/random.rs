//! Random numbers for ids and timer phases: one `SplitMix64` sequence per thread, seeded by the kernel.
//!
//! Ids must be unpredictable enough not to collide, not secret. Source: Steele, Lea, Flood, "Fast splittable pseudorandom
//! number generators", OOPSLA 2014.

use crate::sys::{clock, process, task};
use std::cell::Cell;

thread_local! {
    /// The sequence's state, and which process of a line of forks it was seeded in, counted from 1: a forked child must not
    /// repeat its parent's ids.
    static STATE: Cell<(u64, u32)> = const { Cell::new((0, 0)) };
}

/// Sixty-four random bits.
pub(crate) fn word() -> u64 {
    let (mut state, seeded_in) = STATE.get();
    let process = process::forks().wrapping_add(1);
    if seeded_in != process {
        state = seed();
    }
    state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    STATE.set((state, process));
    mix(state)
}

/// The step of `SplitMix64` that makes a random number of a state. Pure arithmetic.
#[inline]
pub(crate) const fn mix(state: u64) -> u64 {
    let mut z = state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Sixteen random bytes, not all zero.
pub(crate) fn bytes() -> [u8; 16] {
    let mut bytes = [0; 16];
    let (high, low) = bytes.split_at_mut(8);
    high.copy_from_slice(&word().to_be_bytes());
    low.copy_from_slice(&(word() | 1).to_be_bytes());
    bytes
}

#[cold]
fn seed() -> u64 {
    process::watch_forks();
    let mut seed = [0; 8];
    if !process::random(&mut seed) {
        // No kernel randomness yet (early boot): the clock and the thread still differ from any other.
        seed = (clock::unix_nanos() ^ u64::from(task::current().unsigned_abs()) << 40).to_ne_bytes();
    }
    u64::from_ne_bytes(seed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn threads_do_not_repeat_each_other() {
        let draw = || (0..10_000).map(|_| word()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(draw)).collect();
        let all: Vec<u64> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
    }
}
