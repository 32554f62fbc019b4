//! Which engine makes the signals that samples are taken at, and whether it may.

use crate::sys::{perf, task};
use std::fmt;
use std::io;
use std::str::FromStr;

/// What decides when a thread is sampled.
///
/// All engines sample CPU time, with the same stacks and span contexts. They differ in how exactly they hit: see
/// `docs/PLATFORM.md`, "The tick" and "The perf engine".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Engine {
    /// A POSIX timer on the CPU clock of every thread. Needs no permission, costs no interrupts of its own, and follows the
    /// kernel's tick: work that runs in step with the tick is counted in full, but its functions are not told apart rightly.
    #[default]
    CpuTimer,
    /// A CPU clock event of `perf_event_open` for every thread, at random points of each period, not bound to the tick. Where
    /// it is not permitted, the profiler says so and uses timers. Where it is permitted for user space only, the profile has
    /// no samples in the kernel, and says so.
    Perf,
    /// [`Perf`](Self::Perf) where it is permitted in full, kernel time included, otherwise [`CpuTimer`](Self::CpuTimer).
    Auto,
}

/// What an engine is called in the environment.
const NAMES: [(&str, Engine); 3] =
    [("cpu-timer", Engine::CpuTimer), ("perf", Engine::Perf), ("auto", Engine::Auto)];

impl FromStr for Engine {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = NAMES.iter().find(|(name, _)| text.eq_ignore_ascii_case(name));
        known.map(|(_, engine)| *engine).ok_or("is none of cpu-timer, perf and auto")
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAMES.iter().find(|(_, engine)| engine == self).map_or("", |(name, _)| name))
    }
}

/// The engine that is used, and what is to be said about that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InUse {
    pub(crate) means: Means,
    /// Why it is not what was asked for, or what it cannot see.
    pub(crate) remark: Option<String>,
    /// Whether the remark is a problem: somebody asked for something else.
    pub(crate) is_problem: bool,
}

/// What makes signals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Means {
    #[default]
    Timers,
    Events {
        /// Whether they see time in the kernel.
        with_kernel: bool,
    },
}

impl InUse {
    /// Tries what is wanted and settles for what is permitted.
    pub(crate) fn choose(wanted: Engine) -> Self {
        let plain = |means| Self { means, remark: None, is_problem: false };
        let is_wanted = wanted == Engine::Perf;
        match wanted {
            Engine::CpuTimer => plain(Means::Timers),
            Engine::Perf | Engine::Auto => match attempt(true) {
                Ok(()) => plain(Means::Events { with_kernel: true }),
                Err(refusal) => match attempt(false) {
                    Ok(()) if is_wanted => Self {
                        means: Means::Events { with_kernel: false },
                        remark: Some(format!(
                            "CPU time in the kernel is not sampled: perf events are permitted for user space only ({}); \
                             it is exported as {:?}",
                            perf::paranoid(),
                            crate::collector::Loss::KernelTime.frame_name(),
                        )),
                        is_problem: true,
                    },
                    Ok(()) => Self::timers("permitted in user space only", &refusal, is_wanted),
                    Err(refusal) => Self::timers("not permitted", &refusal, is_wanted),
                },
            },
        }
    }

    fn timers(what: &str, refusal: &io::Error, is_problem: bool) -> Self {
        let paranoid = perf::paranoid();
        let remark = format!("CPU timers are used: perf events are {what} ({refusal}; {paranoid})");
        Self { means: Means::Timers, remark: Some(remark), is_problem }
    }

    /// Whether CPU time in the kernel has no samples.
    pub(crate) fn is_blind_to_kernel(&self) -> bool {
        self.means == Means::Events { with_kernel: false }
    }

    /// As what it appears in a status.
    pub(crate) const fn engine(&self) -> Engine {
        match self.means {
            Means::Timers => Engine::CpuTimer,
            Means::Events { .. } => Engine::Perf,
        }
    }
}

fn attempt(with_kernel: bool) -> io::Result<()> {
    perf::open(task::current(), 1_000_000_000, with_kernel).map(perf::close)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for (name, engine) in NAMES {
            assert_eq!((name.parse(), engine.to_string().as_str()), (Ok(engine), name));
            assert_eq!(name.to_uppercase().parse(), Ok(engine));
        }
        assert!("setitimer".parse::<Engine>().is_err());
        assert_eq!(Engine::default(), Engine::CpuTimer);
    }
}
