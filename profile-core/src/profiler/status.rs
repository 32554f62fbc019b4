//! What works and what does not.

use super::super::sampler::cpu;
use crate::thread::{Life, blocks};
use std::fmt;

/// The state of a profiler at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Whether samples are being taken.
    pub sampling: bool,
    /// Samples a second of CPU time.
    pub frequency: u32,
    /// Threads that have a timer and are sampled.
    pub threads_sampled: usize,
    /// Threads without a timer. Their CPU time is exported as unsampled.
    pub threads_without_timer: usize,
    /// What does not work, a sentence each; empty when everything does.
    pub problems: Vec<String>,
}

impl Status {
    pub(super) fn read(sampling: bool, disabled: bool, frequency: u32) -> Self {
        let live: Vec<_> = blocks().filter(|(_, block)| block.life() == Life::Live).collect();
        let sampled = live.iter().filter(|(_, block)| block.has_timer()).count();
        let mut problems = Vec::new();
        if disabled {
            problems.push("profiling is disabled by OTEL_SDK_DISABLED".to_owned());
        }
        let without = if sampling { live.len() - sampled } else { 0 };
        if let (1.., Some(error)) = (without, cpu::refused()) {
            problems
                .push(format!("the system refused CPU timers ({error}): {without} threads are not sampled"));
        }
        if sampling && cpu::is_covered() {
            problems.push(cpu::COVERED.to_owned());
        }
        Self {
            sampling,
            frequency,
            threads_sampled: if sampling { sampled } else { 0 },
            threads_without_timer: without,
            problems,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { frequency, threads_sampled, .. } = self;
        match self.sampling {
            true => write!(f, "sampling {threads_sampled} threads at {frequency} Hz of CPU time")?,
            false => f.write_str("not sampling")?,
        }
        self.problems.iter().try_for_each(|problem| write!(f, "; {problem}"))
    }
}
