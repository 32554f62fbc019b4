//! Whether samples can arrive at all: looks after our place as SIGPROF's handler, and says what is wrong, once.

use crate::diag;
use crate::sampler::cpu;
use crate::spans;
use crate::sys::signal::Place;

/// What was seen since the last look.
#[derive(Debug)]
pub(super) struct Health {
    /// Samples since then.
    pub(super) samples: u64,
    /// The process's CPU clock then, in nanoseconds.
    cpu_nanos: u64,
    said_refused: bool,
    said_order: bool,
}

/// How much CPU time without any sample means that none arrive, in nanoseconds: many ticks of the slowest kernels.
const ENOUGH: u64 = 200_000_000;

impl Health {
    pub(super) const fn new(cpu_nanos: u64) -> Self {
        Self { samples: 0, cpu_nanos, said_refused: false, said_order: false }
    }

    /// A look, at `cpu_nanos` of the process's CPU clock.
    pub(super) fn look(&mut self, cpu_nanos: u64) {
        let place = cpu::keep_handler();
        let is_starved = self.samples == 0 && cpu_nanos.saturating_sub(self.cpu_nanos) >= ENOUGH;
        if is_starved || self.samples > 0 {
            (self.samples, self.cpu_nanos) = (0, cpu_nanos);
            // A handler that came later and passes our signals on is no problem.
            cpu::set_covered(is_starved && place == Place::Covered);
        }
        if cpu::is_covered() {
            diag::warn("sigprof", format_args!("{}", cpu::COVERED));
        }
        if spans::is_order_wrong() && !std::mem::replace(&mut self.said_order, true) {
            diag::warn("layer order", format_args!("{}", spans::WRONG_ORDER));
        }
        if let (Some(error), false) = (cpu::refused(), self.said_refused) {
            self.said_refused = true;
            let instead =
                if cpu::is_sharing() { "share one, and are sampled less evenly" } else { "are not sampled" };
            diag::warn(
                "timers",
                format_args!("the system refused CPU timers ({error}): threads that have none {instead}"),
            );
        }
    }
}
