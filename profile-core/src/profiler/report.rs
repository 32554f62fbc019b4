//! A report: where the CPU time went, by span name. Summed up from every profile since the start.

use super::Explanation;
use crate::context::SpanId;
use crate::context::SpanPath;
use crate::profile::Profile;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// CPU time by span name, since the profiler started.
///
/// `Display` prints it as a table.
#[derive(Clone, Debug, Default)]
pub struct Report {
    spans: Vec<SpanReport>,
    cpu: Duration,
    outside: Duration,
    lost: Duration,
    unprofiled: Vec<Explanation>,
}

/// What is known about the spans of one name.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SpanReport {
    /// The spans' name.
    pub name: String,
    /// How many opened.
    pub seen: u64,
    /// CPU time while a span of this name, or one inside it, was current.
    pub cpu_total: Duration,
    /// CPU time while a span of this name was the innermost.
    pub cpu_self: Duration,
    /// `cpu_total` as a part of the process's CPU time, 0 to 1.
    pub share: f64,
    /// The function that most samples of `cpu_self` were in; empty if there were none.
    pub hottest: String,
}

impl Report {
    /// One entry for each span name, most CPU time first.
    pub fn spans(&self) -> impl Iterator<Item = &SpanReport> {
        self.spans.iter()
    }

    /// Span names that have no samples, each with the reason: at most [`MAX_UNPROFILED`].
    #[must_use]
    pub fn unprofiled(&self) -> &[Explanation] {
        &self.unprofiled
    }

    /// The names of spans that have no samples, or are not followed.
    pub(super) fn without_samples_names(&self) -> Vec<String> {
        let seen = self.spans.iter().filter(|span| span.cpu_total.is_zero()).map(|span| span.name.clone());
        let left_out =
            SpanPath::all().filter(|(_, counts)| counts.left_out.get() > 0 && counts.opened.get() == 0);
        let mut names: Vec<String> = seen.chain(left_out.map(|(path, _)| path.name().to_owned())).collect();
        names.sort_unstable();
        names.dedup();
        names.truncate(MAX_UNPROFILED);
        names
    }

    pub(super) fn set_unprofiled(&mut self, unprofiled: Vec<Explanation>) {
        self.unprofiled = unprofiled;
    }

    /// The CPU time of the whole process that the profile accounts for.
    #[must_use]
    pub const fn cpu(&self) -> Duration {
        self.cpu
    }

    /// The part of [`cpu`](Self::cpu) outside every span.
    #[must_use]
    pub const fn outside_spans(&self) -> Duration {
        self.outside
    }

    /// The part of [`cpu`](Self::cpu) for which there are no samples, only clocks or counts.
    #[must_use]
    pub const fn without_samples(&self) -> Duration {
        self.lost
    }
}

/// Sums profiles up. Memory is bounded: span paths are, and functions are counted only up to [`MAX_FUNCTIONS`] a path.
#[derive(Debug, Default)]
pub(crate) struct ReportSums {
    paths: HashMap<SpanPath, PathSums>,
    lost_nanos: u64,
    /// CPU time by span id, of the latest spans that had samples; local roots with all that is inside them.
    recent: HashMap<SpanId, u64>,
    recent_order: VecDeque<SpanId>,
}

#[derive(Debug, Default)]
struct PathSums {
    nanos: u64,
    functions: HashMap<String, u64>,
}

const MAX_FUNCTIONS: usize = 1024;
/// The most span ids that are remembered.
const MAX_RECENT: usize = 4096;
/// The most span names without samples in a report.
pub const MAX_UNPROFILED: usize = 10;

impl ReportSums {
    /// Adds a finished profile.
    pub(crate) fn add(&mut self, profile: &Profile) {
        for sample in profile.samples() {
            let nanos = sample.weight().saturating_mul(profile.period_nanos());
            if sample.is_loss() {
                self.lost_nanos += nanos;
                continue;
            }
            let (span, root) = (sample.context().span_id, sample.context().root_id);
            self.remember(span, nanos);
            if root != span {
                self.remember(root, nanos);
            }
            let sums = self.paths.entry(sample.context().span).or_default();
            sums.nanos += nanos;
            let Some(leaf) = sample.frames().next() else { continue };
            let function = leaf.function().unwrap_or("[no symbol]");
            if let Some(known) = sums.functions.get_mut(function) {
                *known += nanos;
            } else if sums.functions.len() < MAX_FUNCTIONS {
                sums.functions.insert(function.to_owned(), nanos);
            }
        }
    }

    fn remember(&mut self, span: SpanId, nanos: u64) {
        if !span.is_valid() {
            return;
        }
        if !self.recent.contains_key(&span) {
            self.recent_order.push_back(span);
            if self.recent_order.len() > MAX_RECENT
                && let Some(oldest) = self.recent_order.pop_front()
            {
                self.recent.remove(&oldest);
            }
        }
        *self.recent.entry(span).or_default() += nanos;
    }

    /// CPU time of samples in the span `id`, if it is remembered.
    pub(super) fn cpu_of(&self, id: SpanId) -> Duration {
        Duration::from_nanos(self.recent.get(&id).copied().unwrap_or(0))
    }

    /// CPU time of samples in spans called `name`, and in those inside them.
    pub(super) fn cpu_of_name(&self, name: &str) -> Duration {
        let within = self.paths.iter().filter(|(path, _)| enclosing(**path).contains(&name));
        Duration::from_nanos(within.map(|(_, sums)| sums.nanos).sum())
    }

    /// CPU time without samples.
    pub(super) const fn lost(&self) -> Duration {
        Duration::from_nanos(self.lost_nanos)
    }

    /// The report so far.
    pub(crate) fn report(&self) -> Report {
        let cpu = self.lost_nanos + self.paths.values().map(|sums| sums.nanos).sum::<u64>();
        let mut names: HashMap<&'static str, Names<'_>> = HashMap::new();
        for (path, counts) in SpanPath::all().filter(|(_, counts)| counts.opened.get() > 0) {
            names.entry(path.name()).or_default().seen += counts.opened.get();
        }
        for (path, sums) in self.paths.iter().filter(|(path, _)| **path != SpanPath::NONE) {
            let own = names.entry(path.name()).or_default();
            own.own_nanos += sums.nanos;
            for (function, nanos) in &sums.functions {
                *own.functions.entry(function).or_default() += nanos;
            }
            for name in enclosing(*path) {
                names.entry(name).or_default().total_nanos += sums.nanos;
            }
        }
        let mut spans: Vec<_> = names.into_iter().map(|(name, sums)| sums.report(name, cpu)).collect();
        spans.sort_by(|a, b| b.cpu_total.cmp(&a.cpu_total).then_with(|| a.name.cmp(&b.name)));
        Report {
            spans,
            cpu: Duration::from_nanos(cpu),
            outside: Duration::from_nanos(self.paths.get(&SpanPath::NONE).map_or(0, |sums| sums.nanos)),
            lost: Duration::from_nanos(self.lost_nanos),
            unprofiled: Vec::new(),
        }
    }
}

#[derive(Default)]
struct Names<'a> {
    seen: u64,
    own_nanos: u64,
    total_nanos: u64,
    functions: HashMap<&'a str, u64>,
}

impl Names<'_> {
    fn report(self, name: &str, cpu: u64) -> SpanReport {
        let hottest =
            self.functions.iter().max_by_key(|(function, nanos)| (**nanos, std::cmp::Reverse(**function)));
        SpanReport {
            name: name.to_owned(),
            seen: self.seen,
            cpu_total: Duration::from_nanos(self.total_nanos),
            cpu_self: Duration::from_nanos(self.own_nanos),
            share: if cpu == 0 { 0.0 } else { self.total_nanos as f64 / cpu as f64 },
            hottest: hottest.map_or_else(String::new, |(function, _)| (*function).to_owned()),
        }
    }
}

/// The names of a path, each once: a span inside one of its own name counts once for that name.
fn enclosing(path: SpanPath) -> Vec<&'static str> {
    let mut names = Vec::new();
    let mut at = Some(path);
    while let Some(path) = at {
        if !names.contains(&path.name()) {
            names.push(path.name());
        }
        at = path.parent();
    }
    names
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.spans.iter().map(|span| span.name.chars().count()).max().unwrap_or(0).max(4);
        writeln!(
            f,
            "{:width$}  {:>8}  {:>11}  {:>9}  {:>6}  hottest function",
            "span", "spans", "CPU with", "CPU own", "share"
        )?;
        writeln!(f, "{:width$}  {:>8}  {:>11}  {:>9}  {:>6}", "", "seen", "children", "", "")?;
        for span in &self.spans {
            let (total, own) = (span.cpu_total.as_secs_f64(), span.cpu_self.as_secs_f64());
            let (name, seen, share) = (&span.name, span.seen, span.share * 100.0);
            writeln!(
                f,
                "{name:width$}  {seen:>8}  {total:>9.2} s  {own:>7.2} s  {share:>5.1}%  {}",
                span.hottest
            )?;
        }
        let (cpu, outside, lost) =
            (self.cpu.as_secs_f64(), self.outside.as_secs_f64(), self.lost.as_secs_f64());
        for explanation in &self.unprofiled {
            writeln!(f, "no profile: {explanation}")?;
        }
        write!(f, "process CPU {cpu:.2} s, of it outside spans {outside:.2} s, without samples {lost:.2} s")
    }
}
