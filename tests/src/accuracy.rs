//! What the accuracy tests share: how long they measure, and one repetition for measurements on a shared machine.

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
