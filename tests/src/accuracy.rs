//! What the accuracy tests share: how long they measure, when they may begin, and one repetition for measurements on a shared
//! machine.

use crate::clock::burn;
use profile_layer::Profiler;
use std::time::{Duration, Instant};

/// How many times as long as by default to measure: `PROFILE_ACCURACY_FACTOR`, 1 if it is not set or is no number.
#[must_use]
pub fn factor() -> f64 {
    let given = std::env::var("PROFILE_ACCURACY_FACTOR").ok().and_then(|value| value.parse().ok());
    given.filter(|factor: &f64| factor.is_finite() && *factor > 0.0).unwrap_or(1.0)
}

/// Takes a measurement up to `times` times, until one is as it must be. A measurement with an error of so many standard
/// deviations is off now and then; one that is off each time is wrong.
///
/// # Panics
///
/// With the last failure, when all fail.
#[allow(clippy::panic)] // it is a test's assertion
pub fn retried(times: u32, measure: impl Fn() -> Result<(), String>) {
    for left in (0..times).rev() {
        match measure() {
            Ok(()) => return,
            Err(failure) if left == 0 => panic!("{times} times: {failure}"),
            Err(_) => {}
        }
    }
}

/// Uses CPU time until samples have whole stacks: what was sampled before the unwind tables were ready is in no function.
///
/// # Panics
///
/// When that takes more than a minute, or the thread's clock cannot be read.
#[allow(clippy::unwrap_used)] // a test's
pub fn until_stacks_are_whole(profiler: &Profiler) {
    let begun = Instant::now();
    while profiler.stats().samples_taken == profiler.stats().unready_stacks {
        assert!(begun.elapsed() < Duration::from_secs(60), "no whole stack in a minute");
        burn(Duration::from_millis(20)).unwrap();
    }
}
