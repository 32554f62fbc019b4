//! What works and what does not.

use crate::sampler::{Engine, InUse, cpu};
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
    /// What decides when they are taken: [`Engine::CpuTimer`] or [`Engine::Perf`].
    pub engine: Engine,
    /// Threads that have a timer and are sampled.
    pub threads_sampled: usize,
    /// Threads without a timer. They share one, or their CPU time is exported as unsampled; `problems` says which.
    pub threads_without_timer: usize,
    /// What does not work, a sentence each; empty when everything does.
    pub problems: Vec<String>,
    /// Why [`Engine::Auto`] chose as it did, if it could not have perf events.
    pub remark: Option<String>,
}

impl Status {
    pub(super) fn read(engine: Option<InUse>, disabled: bool, frequency: u32) -> Self {
        let sampling = engine.is_some();
        let live: Vec<_> = blocks().filter(|(_, block)| block.life() == Life::Live).collect();
        let sampled = live.iter().filter(|(_, block)| block.has_timer()).count();
        let mut problems = Vec::new();
        if disabled {
            problems.push("profiling is disabled by OTEL_SDK_DISABLED".to_owned());
        }
        let without = if sampling { live.len() - sampled } else { 0 };
        if let (1.., Some(error)) = (without, cpu::refused()) {
            let instead =
                if cpu::is_sharing() { "share one, and are sampled less evenly" } else { "are not sampled" };
            problems.push(format!("the system refused CPU timers ({error}): {without} threads {instead}"));
        }
        if sampling && cpu::is_covered() {
            problems.push(cpu::COVERED.to_owned());
        }
        let used = engine.as_ref().map(InUse::engine).unwrap_or_default();
        let remark = engine.as_ref().and_then(|engine| engine.remark.clone());
        if engine.is_some_and(|engine| engine.is_problem) {
            problems.extend(remark.clone());
        }
        Self {
            sampling,
            frequency,
            engine: used,
            remark,
            threads_sampled: if sampling { sampled } else { 0 },
            threads_without_timer: without,
            problems,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { frequency, threads_sampled, engine, .. } = self;
        match self.sampling {
            true => write!(f, "sampling {threads_sampled} threads at {frequency} Hz of CPU time ({engine})")?,
            false => f.write_str("not sampling")?,
        }
        self.problems.iter().try_for_each(|problem| write!(f, "; {problem}"))
    }
}
