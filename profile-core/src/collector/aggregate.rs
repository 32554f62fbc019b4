//! Adding samples up: equal stacks in equal contexts become one entry, so that memory grows with what is distinct and
//! not with time.
//!
//! Stacks are compared address by address, never by hash alone. A stack is resolved to its modules once, when it is
//! first seen in a window, because by the end of the window a module may be gone.

use super::hold::Verdict;
use super::modules::{Place, View, ViewKey};
use super::raw::RawSample;
use super::window::{
    ContextIndex, Frame, Loss, SampleContext, Stack, StackEnd, StackIndex, Window, WindowSample,
};
use crate::context::SpanId;
use hashbrown::hash_map::EntryRef;
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// The most distinct stacks, contexts and pairs of them in one window. What exceeds them is counted as lost.
const MAX_STACKS: usize = 1 << 15;
const MAX_CONTEXTS: usize = 1 << 15;
const MAX_SAMPLES: usize = 1 << 16;
/// The most frames of all distinct stacks together: 2 Mi words are 16 MiB.
const MAX_FRAMES: usize = 1 << 20;

/// The sums of one window.
#[derive(Debug, Default)]
pub(super) struct Aggregator {
    hasher: DefaultHashBuilder,
    stacks: Vec<RawStack>,
    stack_index: HashTable<u32>,
    addresses: Vec<u64>,
    frames: Vec<Frame>,
    contexts: Vec<SampleContext>,
    context_index: HashMap<SampleContext, ContextIndex>,
    samples: Sums,
    losses: HashMap<Loss, u64>,
    /// By local root: what waits for a verdict on it.
    held: HashMap<SpanId, Sums>,
    held_sums: usize,
    /// Whether the window has closed, and this is what was held then.
    is_closed: bool,
}

type Sums = HashMap<(StackIndex, ContextIndex), u64>;

/// About what one held sum takes, its part of the tables around it included.
const HELD_BYTES: usize = 64;
/// Outside every span.
const NO_CONTEXT: ContextIndex = ContextIndex(0);

#[derive(Debug)]
struct RawStack {
    /// So that a table that grows need not read the stacks again.
    hash: u64,
    /// Where its addresses lie.
    place: Range<usize>,
    /// Where its frames lie: as many, or fewer if it cannot be told what an address belongs to.
    frames: Range<usize>,
    /// How the stack was said to end.
    taken_end: StackEnd,
    /// How it ends as exported.
    end: StackEnd,
    /// What its addresses were resolved by: the tables' generation, and what was known of it.
    view: (u32, ViewKey),
}

impl Aggregator {
    /// Adds one sample, whose addresses `view` tells the modules of.
    pub(super) fn add(&mut self, sample: &RawSample<'_>, view: Option<View<'_>>, verdict: Verdict) {
        let stack = self.stack(sample, view);
        let context = match verdict {
            Verdict::Unlabel => self.context(&SampleContext::default()),
            Verdict::Keep | Verdict::Hold(_) => self.context(&sample.context),
        };
        let is_full = self.samples.len() + self.held_sums >= MAX_SAMPLES;
        let (Some(stack), Some(context), false) = (stack, context, is_full) else {
            return self.lose(Loss::TablesFull, sample.weight);
        };
        let sums = match verdict {
            Verdict::Hold(root) => self.held.entry(root).or_default(),
            Verdict::Keep | Verdict::Unlabel => &mut self.samples,
        };
        let known = sums.len();
        *sums.entry((stack, context)).or_default() += sample.weight;
        if let Verdict::Hold(_) = verdict {
            self.held_sums += sums.len() - known;
        }
    }

    /// Decides about the samples of a root: they keep their labels, or count outside every span. Returns the weight of
    /// those that do not keep them.
    pub(super) fn decide(&mut self, root: SpanId, keeps: bool) -> u64 {
        let Some(held) = self.held.remove(&root) else { return 0 };
        self.held_sums -= held.len();
        let mut unlabelled = 0;
        for ((stack, context), weight) in held {
            let context = if keeps { context } else { NO_CONTEXT };
            *self.samples.entry((stack, context)).or_default() += weight;
            unlabelled += if keeps { 0 } else { weight };
        }
        unlabelled
    }

    /// Decides against everything that is held. Returns its weight.
    pub(super) fn unlabel_held(&mut self) -> u64 {
        let roots: Vec<SpanId> = self.held.keys().copied().collect();
        roots.into_iter().map(|root| self.decide(root, false)).sum()
    }

    /// Whether anything waits for a verdict.
    pub(super) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// About how much memory it takes to hold what is held.
    pub(super) fn held_bytes(&self) -> usize {
        let frames = if self.is_closed { size_of_val(&*self.frames) } else { 0 };
        self.held_sums * HELD_BYTES + frames
    }

    /// Adds weight for which there is no stack.
    pub(super) fn lose(&mut self, loss: Loss, weight: u64) {
        if weight > 0 {
            *self.losses.entry(loss).or_default() += weight;
        }
    }

    /// Ends the window. What is held stays behind, to be closed again when it is decided; without any, these are the empty
    /// sums of the next window.
    pub(super) fn close(&mut self, start_unix_nanos: u64, duration: Duration, period_nanos: u64) -> Window {
        let mut sums = std::mem::take(self);
        if sums.holds() {
            *self = sums.split_off_held();
        }
        // Each stack's frames follow those of the stack before it: they are handed out in turn, not copied.
        let mut frames = sums.frames.into_iter();
        let stack =
            |raw: &RawStack| Stack { frames: frames.by_ref().take(raw.frames.len()).collect(), end: raw.end };
        let sample = |((stack, context), weight)| WindowSample { stack, context, weight };
        let mut window = Window {
            start_unix_nanos,
            duration,
            period_nanos,
            stacks: sums.stacks.iter().map(stack).collect(),
            contexts: sums.contexts,
            samples: sums.samples.into_iter().map(sample).collect(),
            losses: sums.losses.into_iter().collect(),
        };
        if window.contexts.is_empty() {
            window.contexts.push(SampleContext::default());
        }
        window.samples.sort_unstable_by_key(|sample| (sample.stack, sample.context));
        window.losses.sort_unstable();
        window
    }

    /// Takes out what is held, with no more stacks and contexts than it needs.
    fn split_off_held(&mut self) -> Self {
        let mut rest = Self { is_closed: true, held_sums: self.held_sums, ..Self::default() };
        rest.contexts.push(SampleContext::default());
        let (mut stacks, mut contexts) = (HashMap::new(), HashMap::new());
        for (root, sums) in std::mem::take(&mut self.held) {
            let mut moved = Sums::with_capacity(sums.len());
            for ((stack, context), weight) in sums {
                let stack = *stacks.entry(stack).or_insert_with(|| rest.copy_stack(self, stack));
                let context = *contexts.entry(context).or_insert_with(|| {
                    rest.contexts.extend(self.contexts.get(context.0 as usize));
                    ContextIndex(rest.contexts.len() as u32 - 1)
                });
                *moved.entry((stack, context)).or_default() += weight;
            }
            rest.held.insert(root, moved);
        }
        self.held_sums = 0;
        rest
    }

    fn copy_stack(&mut self, from: &Self, stack: StackIndex) -> StackIndex {
        if let Some(known) = from.stacks.get(stack.0 as usize) {
            let first = self.frames.len();
            self.frames.extend_from_slice(from.frames.get(known.frames.clone()).unwrap_or_default());
            let frames = first..self.frames.len();
            self.stacks.push(RawStack { place: 0..0, frames, ..*known });
        }
        StackIndex(self.stacks.len().saturating_sub(1) as u32)
    }

    fn stack(&mut self, sample: &RawSample<'_>, view: Option<View<'_>>) -> Option<StackIndex> {
        let (head, addresses) = (sample.head, sample.addresses);
        let seen = (sample.generation, view.map_or_else(ViewKey::default, |view| view.key()));
        let hash = self.hasher.hash_one((head.end, seen, addresses));
        let (stacks, all) = (&self.stacks, &self.addresses);
        let equal = |index: &u32| {
            stacks.get(*index as usize).is_some_and(|known| {
                (known.taken_end, known.view) == (head.end, seen)
                    && all.get(known.place.clone()).is_some_and(|theirs| theirs == addresses)
            })
        };
        if let Some(found) = self.stack_index.find(hash, equal) {
            return Some(StackIndex(*found));
        }
        if self.stacks.len() >= MAX_STACKS || self.addresses.len() + addresses.len() > MAX_FRAMES {
            return None;
        }
        let index = u32::try_from(self.stacks.len()).ok()?;
        let (start, first_frame) = (self.addresses.len(), self.frames.len());
        self.addresses.extend_from_slice(addresses);
        let is_sure = self.resolve(addresses, view);
        self.stacks.push(RawStack {
            hash,
            place: start..self.addresses.len(),
            frames: first_frame..self.frames.len(),
            taken_end: head.end,
            end: if is_sure { head.end } else { StackEnd::NoRule },
            view: seen,
        });
        let stacks = &self.stacks;
        let hash_of = |index: &u32| stacks.get(*index as usize).map_or(0, |known| known.hash);
        self.stack_index.insert_unique(hash, index, hash_of);
        Some(StackIndex(index))
    }

    /// Appends the frames of a stack. `false` if they end early: at an address of which it cannot be told what it belongs
    /// to, or for which there was no unwind rule yet. Either way its callers are not sure.
    fn resolve(&mut self, addresses: &[u64], view: Option<View<'_>>) -> bool {
        let mut finder = view.map(View::finder);
        for (number, address) in addresses.iter().enumerate() {
            let place = finder.as_mut().map_or(Place::Elsewhere, |finder| finder.find(*address));
            let is_last = number + 1 == addresses.len();
            let module = match place {
                Place::In(module) | Place::New(module) => Some(Arc::clone(module)),
                Place::Elsewhere | Place::Unsure => None,
            };
            self.frames.push(Frame { module, address: *address });
            match place {
                Place::Unsure => return false,
                Place::New(_) if !is_last => return false,
                _ => {}
            }
        }
        true
    }

    fn context(&mut self, context: &SampleContext) -> Option<ContextIndex> {
        if self.contexts.is_empty() {
            self.contexts.push(SampleContext::default());
            self.context_index.insert(SampleContext::default(), ContextIndex(0));
        }
        let full = self.contexts.len() >= MAX_CONTEXTS;
        match self.context_index.entry_ref(context) {
            EntryRef::Occupied(known) => Some(*known.get()),
            EntryRef::Vacant(_) if full => None,
            EntryRef::Vacant(vacant) => {
                let index = ContextIndex(u32::try_from(self.contexts.len()).ok()?);
                self.contexts.push(*context);
                vacant.insert_entry_with_key(*context, index);
                Some(index)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::{SpanId, TraceId};
    use crate::sampler::SampleHead;

    fn sample(addresses: &[u64], span: u64, weight: u64) -> RawSample<'_> {
        let head =
            SampleHead { kind: 1, end: StackEnd::Complete, has_context: span != 0, has_scope: false, run: 0 };
        let mut context = SampleContext { span_id: SpanId::from_u64(span), ..SampleContext::default() };
        if span != 0 {
            context.trace_id = TraceId::from_bytes([7; 16]);
        }
        RawSample { head, weight, generation: 1, context, addresses }
    }

    #[test]
    fn equal_samples_become_one_entry_and_nothing_is_lost() {
        let mut sums = Aggregator::default();
        for weight in 1..=10 {
            sums.add(&sample(&[1, 2, 3], 5, weight), None, Verdict::Keep);
            sums.add(&sample(&[1, 2, 3], 0, 1), None, Verdict::Keep);
            sums.add(&sample(&[1, 2], 5, 1), None, Verdict::Keep);
        }
        sums.lose(Loss::RingFull, 4);
        let window = sums.close(1, Duration::from_secs(1), 10);
        assert_eq!((window.stacks.len(), window.contexts.len(), window.samples.len()), (2, 2, 3));
        let total: u64 = window.samples.iter().map(|sample| sample.weight).sum();
        assert_eq!((total, window.losses.as_slice()), (55 + 20, [(Loss::RingFull, 4)].as_slice()));
        assert!(sums.close(2, Duration::ZERO, 10).samples.is_empty(), "the next window starts empty");
    }

    /// The collector has 3 µs for a sample, all in all (`scripts/compare` measures it whole); this is its largest part. Held
    /// against the plainest thing that counts stacks, in the same run, so that it is true on a slow machine and under a
    /// sanitizer as well. The best of many batches, since others use the machine too.
    #[test]
    fn adding_a_sample_costs_little_more_than_counting_its_stack() {
        let stacks: Vec<Vec<u64>> = (0..50)
            .map(|stack| (0..30).map(|frame| 0x5500_0000_0000 + stack * frame * 64).collect())
            .collect();
        let (mut sums, mut counts) = (Aggregator::default(), std::collections::HashMap::<&[u64], u64>::new());
        let ours = best_of_batches(&stacks, |stack, number| {
            sums.add(&sample(stack, u64::from(number % 7), 1), None, Verdict::Keep);
        });
        let plain = best_of_batches(&stacks, |stack, _| *counts.entry(stack).or_default() += 1);
        assert!(ours < plain * 10, "{ours:?} a sample of 30 frames, {plain:?} to count it");
    }

    fn best_of_batches<'a>(stacks: &'a [Vec<u64>], mut add: impl FnMut(&'a [u64], u32)) -> Duration {
        const BATCH: u32 = 500;
        let batch = |_| {
            let begun = std::time::Instant::now();
            (0..BATCH).for_each(|number| add(&stacks[number as usize % stacks.len()], number));
            begun.elapsed()
        };
        (0..100).map(batch).min().unwrap_or_default()
    }

    #[test]
    fn full_tables_count_what_they_do_not_take() {
        let mut sums = Aggregator::default();
        let many = MAX_STACKS as u64 + 100;
        for address in 0..many {
            sums.add(&sample(&[address], 0, 2), None, Verdict::Keep);
        }
        let window = sums.close(1, Duration::from_secs(1), 10);
        assert_eq!(window.stacks.len(), MAX_STACKS);
        assert_eq!(window.losses, [(Loss::TablesFull, 200)]);
    }

    #[test]
    fn what_is_held_comes_later_with_the_times_of_its_window_and_no_other_stacks() {
        let mut sums = Aggregator::default();
        let root = |id| Verdict::Hold(SpanId::from_u64(id));
        sums.add(&sample(&[1, 2], 5, 1), None, Verdict::Keep);
        sums.add(&sample(&[3], 6, 10), None, root(6));
        sums.add(&sample(&[3], 6, 10), None, root(6));
        sums.add(&sample(&[1, 2], 7, 100), None, root(7));
        sums.add(&sample(&[4], 8, 1000), None, root(8));
        sums.add(&sample(&[5], 9, 10_000), None, Verdict::Unlabel);
        assert_eq!(sums.decide(SpanId::from_u64(8), true), 0);
        let weights = |window: &Window| {
            let of = |sample: &WindowSample| {
                let context = window.contexts[sample.context.0 as usize].span_id.to_u64();
                let frames = window.stacks[sample.stack.0 as usize].frames.iter().map(|frame| frame.address);
                (context, frames.collect::<Vec<_>>(), sample.weight)
            };
            let mut all: Vec<_> = window.samples.iter().map(of).collect();
            all.sort_unstable();
            all
        };
        let first = sums.close(1, Duration::from_secs(1), 10);
        let now = [(0, vec![5], 10_000), (5, vec![1, 2], 1), (8, vec![4], 1000)];
        assert_eq!(weights(&first), now);
        assert!(sums.holds() && sums.held_bytes() > 0);
        assert_eq!(
            (sums.decide(SpanId::from_u64(6), false), sums.decide(SpanId::from_u64(7), true)),
            (20, 0)
        );
        assert!(!sums.holds());
        let second = sums.close(1, Duration::from_secs(1), 10);
        assert_eq!(weights(&second), [(0, vec![3], 20), (7, vec![1, 2], 100)]);
        assert_eq!((second.stacks.len(), second.losses.len()), (2, 0));
        assert!(!sums.holds() && !sums.is_closed, "nothing is left");
    }
}
