//! One sample as it comes out of a ring.

use crate::collector::SampleContext;
use crate::context::{RECORD_WORDS, context_of_words};
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
        Some(Self {
            head,
            weight: first & u64::from(u32::MAX),
            generation: (first >> 32) as u32,
            context,
            addresses: rest,
        })
    }
}
