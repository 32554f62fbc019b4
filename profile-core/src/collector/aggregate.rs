//! Adding samples up: equal stacks in equal contexts become one entry, so that memory grows with what is distinct and
//! not with time.
//!
//! Stacks are compared address by address, never by hash alone. A stack is resolved to its modules once, when it is
//! first seen in a window, because by the end of the window a module may be gone.

use super::modules::{Place, View, ViewKey};
use super::raw::RawSample;
use super::window::{
    ContextIndex, Frame, Loss, SampleContext, Stack, StackEnd, StackIndex, Window, WindowSample,
};
use hashbrown::hash_map::EntryRef;
use hashbrown::{HashMap, HashTable};
use std::hash::{BuildHasher, RandomState};
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
    hasher: RandomState,
    stacks: Vec<RawStack>,
    stack_index: HashTable<u32>,
    addresses: Vec<u64>,
    frames: Vec<Frame>,
    contexts: Vec<SampleContext>,
    context_index: HashMap<SampleContext, ContextIndex>,
    samples: HashMap<(StackIndex, ContextIndex), u64>,
    losses: HashMap<Loss, u64>,
}

#[derive(Debug)]
struct RawStack {
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
    pub(super) fn add(&mut self, sample: &RawSample<'_>, view: Option<View<'_>>) {
        let stack = self.stack(sample, view);
        let context = self.context(&sample.context);
        match (stack, context) {
            (Some(stack), Some(context)) if self.samples.len() < MAX_SAMPLES => {
                *self.samples.entry((stack, context)).or_default() += sample.weight;
            }
            _ => self.lose(Loss::TablesFull, sample.weight),
        }
    }

    /// Adds weight for which there is no stack.
    pub(super) fn lose(&mut self, loss: Loss, weight: u64) {
        if weight > 0 {
            *self.losses.entry(loss).or_default() += weight;
        }
    }

    /// Ends the window and starts the next.
    pub(super) fn close(&mut self, start_unix_nanos: u64, duration: Duration, period_nanos: u64) -> Window {
        let sums = std::mem::take(self);
        let frames = &sums.frames;
        let stack = |raw: &RawStack| Stack {
            frames: frames.get(raw.frames.clone()).unwrap_or_default().into(),
            end: raw.end,
        };
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
            place: start..self.addresses.len(),
            frames: first_frame..self.frames.len(),
            taken_end: head.end,
            end: if is_sure { head.end } else { StackEnd::NoRule },
            view: seen,
        });
        let (stacks, all, hasher) = (&self.stacks, &self.addresses, &self.hasher);
        self.stack_index.insert_unique(hash, index, |index| {
            let known = &stacks[*index as usize];
            hasher.hash_one((known.taken_end, known.view, &all[known.place.clone()]))
        });
        Some(StackIndex(index))
    }

    /// Appends the frames of a stack. `false` if they end early: at an address of which it cannot be told what it belongs
    /// to, or for which there was no unwind rule yet. Either way its callers are not sure.
    fn resolve(&mut self, addresses: &[u64], view: Option<View<'_>>) -> bool {
        for (number, address) in addresses.iter().enumerate() {
            let place = view.map_or(Place::Elsewhere, |view| view.find(*address));
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
            sums.add(&sample(&[1, 2, 3], 5, weight), None);
            sums.add(&sample(&[1, 2, 3], 0, 1), None);
            sums.add(&sample(&[1, 2], 5, 1), None);
        }
        sums.lose(Loss::RingFull, 4);
        let window = sums.close(1, Duration::from_secs(1), 10);
        assert_eq!((window.stacks.len(), window.contexts.len(), window.samples.len()), (2, 2, 3));
        let total: u64 = window.samples.iter().map(|sample| sample.weight).sum();
        assert_eq!((total, window.losses.as_slice()), (55 + 20, [(Loss::RingFull, 4)].as_slice()));
        assert!(sums.close(2, Duration::ZERO, 10).samples.is_empty(), "the next window starts empty");
    }

    /// The collector has 3 µs for a sample, all in all (`scripts/compare` measures it whole); this is its largest part. The
    /// best of many batches, since others use the machine too.
    #[test]
    fn adding_a_sample_takes_a_fraction_of_a_microsecond() {
        const BATCH: u32 = 500;
        let stacks: Vec<Vec<u64>> = (0..50)
            .map(|stack| (0..30).map(|frame| 0x5500_0000_0000 + stack * frame * 64).collect())
            .collect();
        let mut sums = Aggregator::default();
        let mut best = Duration::MAX;
        for _ in 0..200 {
            let begun = std::time::Instant::now();
            for number in 0..BATCH {
                let stack = &stacks[number as usize % stacks.len()];
                sums.add(&sample(stack, u64::from(number % 7), 1), None);
            }
            best = best.min(begun.elapsed() / BATCH);
        }
        assert!(best < Duration::from_nanos(1500), "{best:?} a sample of 30 frames");
    }

    #[test]
    fn full_tables_count_what_they_do_not_take() {
        let mut sums = Aggregator::default();
        let many = MAX_STACKS as u64 + 100;
        for address in 0..many {
            sums.add(&sample(&[address], 0, 2), None);
        }
        let window = sums.close(1, Duration::from_secs(1), 10);
        assert_eq!(window.stacks.len(), MAX_STACKS);
        assert_eq!(window.losses, [(Loss::TablesFull, 200)]);
    }
}
