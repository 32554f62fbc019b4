//! When to try again: exponential backoff with jitter, or what the destination asks for.
//!
//! Only failures that the exporter calls retryable are tried again. The wait doubles from attempt to attempt and is
//! spread at random, so that many processes that lost their collector at one moment do not come back at one moment.
//! If the destination says how long to wait, that is obeyed instead. A wait that would outlast the deadline is not
//! begun. A shutdown ends a backoff early, for one attempt now is the best that can still be done, but not a wait that
//! the destination asked for. The loop runs over a [`Clock`], so that its tests take no time.

use super::error::{ExportError, ExportErrorKind};
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// How retryable failures are retried.
///
/// The defaults follow the OpenTelemetry Collector's exporters: give up after five minutes. A profile is worth
/// delivering late, because it keeps the times it was collected at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    initial_interval: Duration,
    max_interval: Duration,
    max_elapsed: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            initial_interval: Duration::from_secs(1),
            max_interval: Duration::from_secs(30),
            max_elapsed: Duration::from_secs(300),
        }
    }
}

impl RetryPolicy {
    /// About how long to wait after the first failure; 1 s by default. Each further wait is twice as long.
    #[must_use]
    pub const fn with_initial_interval(mut self, interval: Duration) -> Self {
        self.initial_interval = interval;
        self
    }

    /// About how long to wait at most, unless the destination asks for more; 30 s by default.
    #[must_use]
    pub const fn with_max_interval(mut self, interval: Duration) -> Self {
        self.max_interval = interval;
        self
    }

    /// How long to try one batch, first attempt and all waits included; 300 s by default.
    #[must_use]
    pub const fn with_max_elapsed(mut self, elapsed: Duration) -> Self {
        self.max_elapsed = elapsed;
        self
    }

    /// How long one batch is tried.
    pub(crate) const fn max_elapsed(&self) -> Duration {
        self.max_elapsed
    }

    /// The wait after failure number `failures` (from 1), spread over half to one and a half by `random`.
    fn interval(&self, failures: u32, random: u64) -> Duration {
        let doublings = failures.saturating_sub(1).min(30);
        let interval = self.initial_interval.saturating_mul(1 << doublings).min(self.max_interval);
        let spread = (random % 1024) as u32;
        (interval / 2).saturating_add((interval / 1024).saturating_mul(spread))
    }
}

/// The time as the loop sees it.
pub(crate) trait Clock {
    /// The time now.
    fn now(&self) -> Instant;

    /// When the attempts must end; a shutdown brings it forward.
    fn deadline(&self) -> Instant;

    /// Waits until `until`. Returns early, and true, if a shutdown begins meanwhile; one that began before does not
    /// end the wait.
    fn wait_until(&self, until: Instant) -> bool;
}

/// How the attempts ended.
#[derive(Debug)]
pub(crate) enum Outcome<T> {
    /// One succeeded.
    Delivered(T),
    /// One failed in a way that another attempt cannot change.
    Failed(ExportError),
    /// The time was over before one succeeded; this is the last failure.
    Expired(ExportError),
}

/// Attempts until one succeeds, one fails for good, or the time is over. `attempt` is given the deadline.
pub(crate) fn retry<T>(
    policy: &RetryPolicy,
    clock: &impl Clock,
    mut attempt: impl FnMut(Instant) -> Result<T, ExportError>,
) -> Outcome<T> {
    let mut failures = 0_u32;
    loop {
        let error = match attempt(clock.deadline()) {
            Ok(delivered) => return Outcome::Delivered(delivered),
            Err(error) => error,
        };
        let ExportErrorKind::Retryable { after } = error.kind() else { return Outcome::Failed(error) };
        failures = failures.saturating_add(1);
        let interval = after.unwrap_or_else(|| policy.interval(failures, random()));
        if !wait(clock, interval, after.is_some()) {
            return Outcome::Expired(error);
        }
    }
}

/// Waits before the next attempt; false if there is no time for one. Goes round twice at most: a shutdown begins once.
fn wait(clock: &impl Clock, interval: Duration, asked_for: bool) -> bool {
    let Some(until) = clock.now().checked_add(interval) else { return false };
    loop {
        if until >= clock.deadline() {
            return false;
        }
        let interrupted = clock.wait_until(until);
        if !(interrupted && asked_for) {
            return true;
        }
    }
}

/// A random number: a fresh hasher of the standard library is keyed at random.
fn random() -> u64 {
    RandomState::new().hash_one(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};

    /// Time that passes only in waits.
    struct Script {
        start: Instant,
        now: Cell<Duration>,
        max_elapsed: Duration,
        /// When a shutdown begins, and its deadline.
        shutdown: Option<(Duration, Duration)>,
        waits: RefCell<Vec<Duration>>,
    }

    impl Script {
        fn new(max_elapsed: u64) -> Self {
            Self {
                start: Instant::now(),
                now: Cell::default(),
                max_elapsed: Duration::from_secs(max_elapsed),
                shutdown: None,
                waits: RefCell::default(),
            }
        }

        fn stopping(&self) -> bool {
            self.shutdown.is_some_and(|(begin, _)| self.now.get() >= begin)
        }

        /// Runs attempts that fail with `kind` until attempt `succeed_at`; returns the number of attempts.
        fn run(&self, kind: ExportErrorKind, succeed_at: u32) -> (u32, Outcome<()>) {
            let mut attempts = 0;
            let policy = RetryPolicy::default();
            let outcome = retry(&policy, self, |deadline| {
                attempts += 1;
                assert!(self.now() < deadline, "an attempt is given time");
                if attempts == succeed_at { Ok(()) } else { Err(ExportError::new(kind, "no")) }
            });
            (attempts, outcome)
        }
    }

    impl Clock for Script {
        fn now(&self) -> Instant {
            self.start + self.now.get()
        }

        fn deadline(&self) -> Instant {
            let own = self.start + self.max_elapsed;
            match self.shutdown {
                Some((_, deadline)) if self.stopping() => own.min(self.start + deadline),
                _ => own,
            }
        }

        fn wait_until(&self, until: Instant) -> bool {
            let (from, was_stopping) = (self.now.get(), self.stopping());
            self.now.set(until.duration_since(self.start));
            let interrupted = self.stopping() && !was_stopping;
            if let (true, Some((begin, _))) = (interrupted, self.shutdown) {
                self.now.set(begin);
            }
            self.waits.borrow_mut().push(self.now.get() - from);
            interrupted
        }
    }

    const RETRYABLE: ExportErrorKind = ExportErrorKind::Retryable { after: None };
    const AFTER_7_S: ExportErrorKind = ExportErrorKind::Retryable { after: Some(Duration::from_secs(7)) };

    #[test]
    fn retryable_failures_are_retried_until_one_succeeds() {
        let script = Script::new(300);
        let (attempts, outcome) = script.run(RETRYABLE, 4);
        assert!(matches!(outcome, Outcome::Delivered(())) && attempts == 4, "{attempts} {outcome:?}");
        let waits = script.waits.borrow();
        for (wait, about) in waits.iter().zip([1.0, 2.0, 4.0]) {
            let ratio = wait.as_secs_f64() / about;
            assert!((0.5..=1.5).contains(&ratio), "{waits:?}");
        }
    }

    #[test]
    fn other_failures_are_not_retried() {
        for kind in [ExportErrorKind::Rejected, ExportErrorKind::TooLarge] {
            let (attempts, outcome) = Script::new(300).run(kind, 2);
            assert!(matches!(outcome, Outcome::Failed(_)) && attempts == 1, "{attempts} {outcome:?}");
        }
    }

    #[test]
    fn the_attempts_end_with_the_time() {
        let script = Script::new(300);
        let (attempts, outcome) = script.run(RETRYABLE, u32::MAX);
        assert!(matches!(outcome, Outcome::Expired(_)), "{outcome:?}");
        assert!(script.now.get() < Duration::from_secs(300) && (9..=30).contains(&attempts), "{attempts}");
    }

    #[test]
    fn what_the_destination_asks_for_is_obeyed_exactly_or_not_begun() {
        let script = Script::new(15);
        let (attempts, outcome) = script.run(AFTER_7_S, u32::MAX);
        assert!(matches!(outcome, Outcome::Expired(_)) && attempts == 3, "{attempts} {outcome:?}");
        assert_eq!(*script.waits.borrow(), [Duration::from_secs(7); 2]);
    }

    #[test]
    fn a_shutdown_ends_a_backoff_for_one_more_attempt() {
        let begin = Duration::from_millis(100);
        let script = Script { shutdown: Some((begin, Duration::from_secs(5))), ..Script::new(300) };
        let (attempts, outcome) = script.run(RETRYABLE, 2);
        assert!(matches!(outcome, Outcome::Delivered(())) && attempts == 2, "{attempts} {outcome:?}");
        assert_eq!(*script.waits.borrow(), [begin]);
    }

    #[test]
    fn a_shutdown_does_not_cut_short_what_the_destination_asked_for() {
        let begin = Duration::from_secs(2);
        let script = Script { shutdown: Some((begin, Duration::from_secs(60))), ..Script::new(300) };
        let (attempts, outcome) = script.run(AFTER_7_S, 2);
        assert!(matches!(outcome, Outcome::Delivered(())) && attempts == 2, "{attempts} {outcome:?}");
        assert_eq!(*script.waits.borrow(), [begin, Duration::from_secs(5)]);

        let script = Script { shutdown: Some((begin, Duration::from_secs(4))), ..Script::new(300) };
        let (attempts, outcome) = script.run(AFTER_7_S, 2);
        assert!(matches!(outcome, Outcome::Expired(_)) && attempts == 1, "{attempts} {outcome:?}");
        assert_eq!(*script.waits.borrow(), [begin], "7 s would end after the deadline: given up at once");
    }

    #[test]
    fn extreme_intervals_do_not_overflow() {
        let policy =
            RetryPolicy::default().with_initial_interval(Duration::MAX).with_max_interval(Duration::MAX);
        assert!(policy.interval(u32::MAX, u64::MAX) > Duration::from_secs(u64::MAX / 4));
        assert_eq!(RetryPolicy::default().interval(1, 0), Duration::from_millis(500));
    }
}
