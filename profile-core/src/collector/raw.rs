//! One sample as it comes out of a ring.

use crate::collector::SampleContext;
use crate::context::{LabelSet, RECORD_WORDS, Region, context_of_words};
use crate::ring::{Consumer, DEFAULT_WORDS};
use crate::sampler::SampleHead;

/// A sample taken apart, borrowed from the drain's buffer.
#[derive(Debug)]
pub(super) struct RawSample<'a> {
    pub(super) head: SampleHead,
    pub(super) weight: u64,
    /// Which module list the addresses belong to.
    pub(super) generation: u32,
    pub(super) context: SampleContext,
    /// Addresses to look up, leaf first.
    pub(super) addresses: &'a [u64],
}

impl<'a> RawSample<'a> {
    /// Reads a sample from its record; `None` if it is not one. See `sampler::capture` for the layout.
    pub(super) fn parse(tag: u32, words: &'a [u64]) -> Option<Self> {
        let head = SampleHead::from_tag(tag);
        let (&first, mut rest) = words.split_first()?;
        let mut context = SampleContext::default();
        if head.has_context {
            let (record, addresses) = rest.split_first_chunk::<RECORD_WORDS>()?;
            context = context_of_words(record);
            rest = addresses;
        }
        if head.has_scope {
            let (scope, addresses) = rest.split_first()?;
            context.region = Region::from_u32(*scope as u32);
            context.labels = LabelSet::from_u32((*scope >> 32) as u32);
            rest = addresses;
        }
        Some(Self {
            head,
            weight: first & u64::from(u32::MAX),
            generation: (first >> 32) as u32,
            context,
            addresses: rest,
        })
    }
}

/// Records as they were taken out of a ring, one after the other.
#[derive(Debug, Default)]
pub(super) struct Records {
    words: Vec<u64>,
    /// The records' tags and where their words end.
    ends: Vec<(u32, usize)>,
    /// Words that were no records.
    pub(super) corrupt_words: u64,
}

impl Records {
    /// Takes all records out of a ring.
    pub(super) fn take(&mut self, ring: &mut Consumer<'_, DEFAULT_WORDS>) {
        let drained = ring.drain(|record| {
            self.words.extend(record.words());
            self.ends.push((record.tag(), self.words.len()));
        });
        self.corrupt_words += drained.corrupt_words;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Every record's tag and words, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &[u64])> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(_, end)| *end));
        let places = starts.zip(&self.ends);
        places.map(|(start, (tag, end))| (*tag, self.words.get(start..*end).unwrap_or_default()))
    }

    pub(super) fn clear(&mut self) {
        self.words.clear();
        self.ends.clear();
    }
}
