//! Why a span has no profile: the answer from what was counted, not from what usually is the case.

use super::{Explanation, Profiler, Reason};
use crate::context::{SpanId, SpanPath};
use crate::history::{Closed, recent};
use crate::spans;
use std::time::Duration;

/// What was recorded about the spans in question.
#[derive(Clone, Copy, Debug, Default)]
struct Facts {
    opened: u64,
    closed: u64,
    left_out: u64,
    unsampled: u64,
    without_ids: u64,
    open: Duration,
    longest: Duration,
}

impl Profiler {
    /// Says why the spans called `span` have no profile, or the one span of that id (16 hexadecimal digits, as
    /// [`SpanId`] displays). Covers finished windows, as [`report`](Self::report) does.
    #[must_use]
    pub fn explain(&self, span: &str) -> Explanation {
        let by_id =
            Some(span).filter(|text| text.len() == 16).and_then(|text| u64::from_str_radix(text, 16).ok());
        let (facts, cpu) = match by_id.map(SpanId::from_u64) {
            Some(id) => (of_id(id), self.report_sums(|sums| sums.cpu_of(id))),
            None => (of_name(span), self.report_sums(|sums| sums.cpu_of_name(span))),
        };
        let cpu = cpu.unwrap_or_default();
        Explanation { span: span.to_owned(), spans: facts.opened, cpu, reasons: self.reasons(&facts, cpu) }
    }

    fn reasons(&self, facts: &Facts, cpu: Duration) -> Vec<Reason> {
        let mut reasons = Vec::new();
        let status = self.status();
        if !status.sampling || !status.problems.is_empty() {
            let why = if status.sampling || self.disabled {
                status.problems.join("; ")
            } else {
                "the profiler is stopped".into()
            };
            reasons.push(Reason::EngineOff(why));
        }
        if facts.left_out > 0 {
            reasons.push(Reason::LeftOut(facts.left_out));
        } else if facts.opened == 0 {
            reasons.push(match spans::untracked() {
                0 => Reason::NotSeen,
                many => Reason::TooMany(many),
            });
        }
        if facts.opened > 0 {
            if spans::is_order_wrong() {
                reasons.push(Reason::WrongLayerOrder);
            }
            if facts.unsampled > 0 {
                reasons.push(Reason::NotSampled(facts.unsampled));
            }
            if facts.without_ids > 0 {
                reasons.push(Reason::NoIds(facts.without_ids));
            }
            if cpu.is_zero() {
                self.no_samples(facts, &mut reasons);
            }
        }
        reasons
    }

    /// Why there is not one sample.
    fn no_samples(&self, facts: &Facts, reasons: &mut Vec<Reason>) {
        let period = Duration::from_nanos(1_000_000_000 / u64::from(self.frequency.max(1)));
        let stats = self.stats();
        if let Some(least) = self.min_span_duration.filter(|least| facts.closed > 0 && facts.longest < *least)
        {
            reasons.push(Reason::Fast { longest: facts.longest, least });
        }
        let lost = self.report_sums(super::report::ReportSums::lost).unwrap_or_default();
        let lost =
            lost.max(period.saturating_mul(u32::try_from(stats.weight_lost_ring_full).unwrap_or(u32::MAX)));
        if !lost.is_zero() || stats.windows_lost > 0 {
            reasons.push(Reason::Lost(lost));
        }
        if facts.open < ENOUGH * period {
            reasons.push(Reason::TooShort { open: facts.open, period });
        } else {
            reasons.push(Reason::Waited { open: facts.open });
        }
    }
}

/// Spans that computed for so many periods all together have a sample, but for one in 150 times.
const ENOUGH: u32 = 5;

fn of_name(name: &str) -> Facts {
    let mut facts = Facts::default();
    for counts in SpanPath::all().filter(|(path, _)| path.name() == name).map(|(_, counts)| counts) {
        facts.opened += counts.opened.get();
        facts.closed += counts.closed.get();
        facts.left_out += counts.left_out.get();
        facts.unsampled += counts.unsampled.get();
        facts.without_ids += counts.without_ids.get();
        facts.open += Duration::from_nanos(counts.open_nanos.get());
        facts.longest = facts.longest.max(Duration::from_nanos(counts.longest_nanos.get()));
    }
    facts
}

fn of_id(id: SpanId) -> Facts {
    let Some(Closed { flags, lasted }) = recent(id) else { return Facts::default() };
    let unsampled = u64::from(!flags.is_sampled());
    Facts { opened: 1, closed: 1, unsampled, open: lasted, longest: lasted, ..Facts::default() }
}
