//! Which samples keep the labels of their span, and how long it takes to know.
//!
//! A policy can ask for the samples of sampled traces only, or of slow requests only. The others are not dropped: they
//! are counted outside every span, so that totals stay true. Whether a request is slow is known when its local root
//! closes, or when it has been open for long enough. Until then its samples are held, each in the sums of its own window
//! (see [`Aggregator`]); a window that closes before everything in it is decided is followed by a second one of the same
//! times, with what was decided later.
//!
//! Everything is bounded: a sample is held for as long as the shortest slow request takes, which is a minute at most; and
//! if more than [`MAX_BYTES`] are held, or if the collector was not told of all roots that closed, what is held loses its
//! labels at once, and is counted.

use super::aggregate::Aggregator;
use super::raw::RawSample;
use super::window::SampleContext;
use crate::closing::{ClosedRoot, ClosedRoots};
use crate::context::SpanId;
use hashbrown::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Which samples keep their labels. By default all do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policy {
    /// Only those of traces that are sampled.
    pub(crate) sampled_only: bool,
    /// Only those of requests that take at least this long, and who tells that a request is over.
    pub(crate) slow_only: Option<(Duration, Arc<ClosedRoots>)>,
}

/// What becomes of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It counts for its span.
    Keep,
    /// It counts outside every span.
    Unlabel,
    /// It is not known yet. It waits for the root's end.
    Hold(SpanId),
}

/// The most memory that samples are held in, in bytes.
const MAX_BYTES: usize = 8 << 20;
/// The most open roots that are remembered as slow. Beyond that their samples are held once more.
const MAX_SLOW: usize = 1 << 16;

/// Decides about samples.
#[derive(Debug)]
pub(super) struct Holder {
    policy: Policy,
    /// The roots of which samples are held, and when the first of these was seen.
    since: HashMap<SpanId, Instant>,
    /// Open roots that have been open for long enough.
    slow: HashSet<SpanId>,
    closed: Vec<ClosedRoot>,
    missed: u64,
    looked: Instant,
    /// Weight that lost its labels, and how much of that because of a limit.
    unlabelled: u64,
    given_up: u64,
}

impl Holder {
    pub(super) fn new(policy: Policy) -> Self {
        let mut holder = Self {
            policy,
            since: HashMap::new(),
            slow: HashSet::new(),
            closed: Vec::new(),
            missed: 0,
            looked: Instant::now(),
            unlabelled: 0,
            given_up: 0,
        };
        holder.look();
        holder.closed.clear(); // of an earlier run
        holder.missed = 0;
        holder
    }

    /// Asks which roots have closed. Call it before the rings are emptied: then every sample of these roots is in a ring or
    /// was taken out before, because it was taken before its root closed.
    pub(super) fn look(&mut self) {
        if let Some((_, roots)) = &self.policy.slow_only {
            self.missed += roots.take(&mut self.closed);
            self.looked = Instant::now();
        }
    }

    /// What becomes of a sample that was taken in a span.
    pub(super) fn ask(&mut self, sample: &RawSample<'_>) -> Verdict {
        let verdict = self.verdict(&sample.context);
        if verdict == Verdict::Unlabel {
            self.unlabelled += sample.weight;
        }
        verdict
    }

    fn verdict(&mut self, context: &SampleContext) -> Verdict {
        if self.policy.sampled_only && !(context.trace_id.is_valid() && context.flags.is_sampled()) {
            return Verdict::Unlabel;
        }
        let root = context.root_id;
        match self.policy.slow_only {
            None => Verdict::Keep,
            Some(_) if !root.is_valid() => Verdict::Unlabel, // nobody will tell of its end
            Some(_) if self.slow.contains(&root) => Verdict::Keep,
            Some(_) => {
                self.since.entry(root).or_insert_with(Instant::now);
                Verdict::Hold(root)
            }
        }
    }

    /// Decides what can be decided, in all windows. Call it after the rings were emptied.
    pub(super) fn decide<'a>(&mut self, windows: impl Iterator<Item = &'a mut Aggregator>) {
        let Some((least, _)) = self.policy.slow_only else { return };
        let mut windows: Vec<_> = windows.collect();
        if std::mem::take(&mut self.missed) > 0 {
            // Any root may have closed.
            self.slow.clear();
            return self.give_up(windows);
        }
        for root in std::mem::take(&mut self.closed) {
            self.slow.remove(&root.id);
            if self.since.remove(&root.id).is_some() {
                for window in &mut windows {
                    self.unlabelled += window.decide(root.id, root.lasted >= least);
                }
            }
        }
        // Those that were open when their first sample was seen, and had not closed when it was last asked.
        let looked = self.looked;
        let is_slow = |since: &Instant| looked.saturating_duration_since(*since) >= least;
        for (root, _) in self.since.extract_if(|_, since| is_slow(since)) {
            for window in &mut windows {
                window.decide(root, true);
            }
            if self.slow.len() < MAX_SLOW {
                self.slow.insert(root);
            }
        }
        if windows.iter().map(|window| window.held_bytes()).sum::<usize>() > MAX_BYTES {
            self.give_up(windows);
        }
    }

    /// Decides against everything that is held.
    pub(super) fn give_up<'a>(&mut self, windows: impl IntoIterator<Item = &'a mut Aggregator>) {
        self.closed.clear();
        self.since.clear();
        let weight: u64 = windows.into_iter().map(Aggregator::unlabel_held).sum();
        self.unlabelled += weight;
        self.given_up += weight;
    }

    /// The weight that lost its labels since the last time, and how much of it because it could not be waited for.
    pub(super) fn take_counts(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.unlabelled), std::mem::take(&mut self.given_up))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::closing::{Closings, closings};
    use crate::collector::{StackEnd, Window};
    use crate::context::{TraceFlags, TraceId};
    use crate::sampler::SampleHead;

    fn sample(root: u64) -> RawSample<'static> {
        let head =
            SampleHead { kind: 1, end: StackEnd::Complete, has_context: true, has_scope: false, run: 0 };
        let context = SampleContext {
            trace_id: TraceId::from_bytes([1; 16]),
            flags: TraceFlags::SAMPLED,
            root_id: SpanId::from_u64(root),
            ..SampleContext::default()
        };
        RawSample { head, weight: 1, generation: 1, context, addresses: &[1] }
    }

    fn holder(least: Duration) -> (Closings, Holder) {
        let (closings, roots) = closings();
        (closings, Holder::new(Policy { sampled_only: false, slow_only: Some((least, Arc::new(roots))) }))
    }

    /// Adds a sample of each root, as the collector does.
    fn add(holder: &mut Holder, sums: &mut Aggregator, roots: impl IntoIterator<Item = u64>) {
        for root in roots {
            let sample = sample(root);
            let verdict = holder.ask(&sample);
            sums.add(&sample, None, verdict);
        }
    }

    /// The roots of the samples that are decided, 0 for those without labels.
    fn decided(sums: &mut Aggregator) -> Vec<u64> {
        let Window { samples, contexts, .. } = sums.close(0, Duration::ZERO, 1);
        let root = |context: usize| contexts[context].root_id.to_u64();
        let all =
            samples.iter().flat_map(|s| std::iter::repeat_n(root(s.context.0 as usize), s.weight as usize));
        let mut all: Vec<u64> = all.collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn a_root_that_closes_decides_about_its_samples_wherever_they_are() {
        let least = Duration::from_secs(5);
        let (closings, mut holder) = holder(least);
        let (mut open, mut closed) = (Aggregator::default(), Aggregator::default());
        add(&mut holder, &mut closed, [1, 2, 3]);
        assert!(decided(&mut closed).is_empty());
        closings.tell(ClosedRoot { id: SpanId::from_u64(1), lasted: least });
        closings.tell(ClosedRoot { id: SpanId::from_u64(2), lasted: least - Duration::from_nanos(1) });
        closings.tell(ClosedRoot { id: SpanId::from_u64(9), lasted: least });
        holder.look();
        add(&mut holder, &mut open, [2, 1]);
        holder.decide([&mut open, &mut closed].into_iter());
        assert_eq!((decided(&mut open), decided(&mut closed)), (vec![0, 1], vec![0, 1]));
        assert!(closed.holds(), "of the third root nothing is known yet");
        assert_eq!(holder.take_counts(), (2, 0));
    }

    #[test]
    fn a_root_that_is_open_for_long_enough_is_slow_before_it_closes() {
        let (closings, mut holder) = holder(Duration::from_millis(1));
        let mut sums = Aggregator::default();
        add(&mut holder, &mut sums, [1]);
        holder.decide(std::iter::once(&mut sums));
        assert!(decided(&mut sums).is_empty(), "it was last asked for before its first sample was seen");
        std::thread::sleep(Duration::from_millis(5));
        holder.look();
        holder.decide(std::iter::once(&mut sums));
        add(&mut holder, &mut sums, [1]);
        assert_eq!(decided(&mut sums), [1, 1]);
        closings.tell(ClosedRoot { id: SpanId::from_u64(1), lasted: Duration::from_millis(5) });
        holder.look();
        holder.decide(std::iter::once(&mut sums));
        assert!(holder.slow.is_empty() && holder.since.is_empty());
    }

    #[test]
    fn what_does_not_fit_loses_its_labels_and_is_counted() {
        let (closings, mut holder) = holder(Duration::from_secs(5));
        let mut sums = Aggregator::default();
        add(&mut holder, &mut sums, [1, 2]);
        for id in 100..100_000 {
            closings.tell(ClosedRoot { id: SpanId::from_u64(id), lasted: Duration::ZERO });
        }
        holder.look();
        holder.decide(std::iter::once(&mut sums));
        assert_eq!((decided(&mut sums), holder.take_counts()), (vec![0, 0], (2, 2)), "roots were missed");
        let mut windows: Vec<_> = (0..5).map(|_| Aggregator::default()).collect();
        for window in &mut windows {
            add(&mut holder, window, 1..30_001);
        }
        holder.decide(windows.iter_mut());
        assert_eq!(holder.take_counts(), (150_000, 150_000), "more than 8 MiB");
        assert!(windows.iter().all(|window| !window.holds()));
    }

    #[test]
    fn samples_of_traces_that_are_not_sampled_or_have_no_root_are_not_held() {
        let (_closings, mut holder) = holder(Duration::from_secs(5));
        holder.policy.sampled_only = true;
        let mut unsampled = sample(1);
        unsampled.context.flags = TraceFlags::default();
        assert_eq!(holder.ask(&unsampled), Verdict::Unlabel);
        assert_eq!(holder.ask(&sample(0)), Verdict::Unlabel);
        assert_eq!(holder.ask(&sample(1)), Verdict::Hold(SpanId::from_u64(1)));
        assert_eq!(holder.take_counts(), (2, 0));
    }
}
