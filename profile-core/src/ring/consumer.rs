//! The reading end.
//!
//! The consumer walks from `tail` to the `head` that it acquired, record by record, and gives the space of each back
//! as soon as it has been read. It trusts no length: one that leads out of the published words (memory was overwritten,
//! two threads produced) ends the walk, everything up to `head` is given up, and the loss is reported.

use std::fmt;

use super::{Dropped, Header, Ring};
use crate::sync::Ordering;

/// The right to read a ring; there is one at a time.
pub struct Consumer<'a, const WORDS: usize> {
    pub(super) ring: &'a Ring<WORDS>,
}

/// What a call to [`Consumer::drain`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "lost words are to be reported"]
pub struct Drained {
    /// Records read.
    pub records: u64,
    /// Words given up because a length among them made no sense. Not 0 means a defect: an unknown number of records,
    /// up to this, was lost.
    pub corrupt_words: u64,
}

/// A record in the ring, valid during the callback of [`Consumer::drain`].
#[derive(Clone, Copy)]
pub struct Record<'a, const WORDS: usize> {
    ring: &'a Ring<WORDS>,
    pub(super) start: u64,
    header: Header,
}

/// The payload words of a [`Record`], in order.
#[derive(Clone)]
pub struct Words<'a, const WORDS: usize> {
    ring: &'a Ring<WORDS>,
    next: u64,
    end: u64,
}

impl<'a, const WORDS: usize> Consumer<'a, WORDS> {
    /// Calls `each` with every record published before this call, oldest first. If `each` panics, its record is
    /// delivered again next time.
    pub fn drain(&mut self, mut each: impl FnMut(Record<'_, WORDS>)) -> Drained {
        let ring = self.ring;
        // Acquire: see every word stored before the producer's release of this head.
        let head = ring.producer.head.load(Ordering::Acquire);
        // Relaxed: written by consumers only, and they are ordered by `taken`.
        let mut tail = ring.consumer.tail.load(Ordering::Relaxed);
        let mut drained = Drained::default();
        // Each turn advances by at least one word, and `head` is at most `WORDS` away: bounded.
        while tail != head {
            let Some(record) = self.record_at(tail, head) else {
                drained.corrupt_words = head.wrapping_sub(tail).min(WORDS as u64);
                self.advance(head);
                break;
            };
            if !record.header.is_padding() {
                each(record);
                drained.records += 1;
            }
            tail = tail.wrapping_add(record.header.total);
            self.advance(tail);
        }
        drained
    }

    /// Takes the count of records of this `kind` that found no room since the last call. Numbers from
    /// [`DROP_KINDS`](super::DROP_KINDS) on mean the last.
    pub fn take_dropped(&mut self, kind: usize) -> Dropped {
        let counter = &self.ring.dropped[kind.min(super::DROP_KINDS - 1)];
        Dropped {
            records: counter.records.swap(0, Ordering::Relaxed),
            weight: counter.weight.swap(0, Ordering::Relaxed),
        }
    }

    /// Empties the ring for its next thread, when the last one is gone, or for the child of a fork. Returns how many
    /// words were thrown away with it, which is 0 for a ring that was drained, unless its thread died inside a record.
    /// Counts of dropped records stay: they are still owed to the profile.
    ///
    /// The caller makes sure that nothing produces meanwhile, and that the next producer starts after this (for
    /// instance by handing it the ring through a release and acquire).
    #[must_use = "records may have been thrown away"]
    pub fn reset(&mut self) -> u64 {
        let Ring { producer, consumer, .. } = self.ring;
        let lost =
            producer.reserved.load(Ordering::Relaxed).wrapping_sub(consumer.tail.load(Ordering::Relaxed));
        for position in [&producer.depth, &producer.reserved, &producer.head, &consumer.tail] {
            position.store(0, Ordering::Relaxed);
        }
        lost.min(WORDS as u64)
    }

    /// The record at `tail`, if there can be one before `head`.
    fn record_at(&self, tail: u64, head: u64) -> Option<Record<'a, WORDS>> {
        let available = head.checked_sub(tail).filter(|&words| words <= WORDS as u64)?;
        let header = Header::from_word(self.ring.word(tail).load());
        header.fits(available).then_some(Record { ring: self.ring, start: tail, header })
    }

    fn advance(&self, tail: u64) {
        // Release: our reads below come before the producer's next stores there.
        self.ring.consumer.tail.store(tail, Ordering::Release);
    }
}

impl<const WORDS: usize> Drop for Consumer<'_, WORDS> {
    fn drop(&mut self) {
        self.ring.consumer.taken.store(false, Ordering::Release);
    }
}

impl<'a, const WORDS: usize> Record<'a, WORDS> {
    /// What the producer gave to [`Reservation::commit`](super::Reservation::commit).
    #[must_use]
    pub fn tag(&self) -> u32 {
        self.header.tag
    }

    /// The number of payload words.
    #[must_use]
    pub fn len(&self) -> usize {
        self.header.used.saturating_sub(1) as usize
    }

    /// Whether there is no payload.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The payload word at `index`, if there is one.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<u64> {
        (index < self.len()).then(|| self.ring.word(self.start + 1 + index as u64).load())
    }

    /// The payload.
    #[must_use]
    pub fn words(&self) -> Words<'a, WORDS> {
        let next = self.start + 1;
        Words { ring: self.ring, next, end: next + self.len() as u64 }
    }
}

impl<const WORDS: usize> Iterator for Words<'_, WORDS> {
    type Item = u64;

    #[inline]
    fn next(&mut self) -> Option<u64> {
        if self.next == self.end {
            return None;
        }
        let word = self.ring.word(self.next).load();
        self.next += 1;
        Some(word)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let rest = (self.end - self.next) as usize;
        (rest, Some(rest))
    }
}

impl<const WORDS: usize> ExactSizeIterator for Words<'_, WORDS> {}

impl<const WORDS: usize> fmt::Debug for Consumer<'_, WORDS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Consumer").field(self.ring).finish()
    }
}

impl<const WORDS: usize> fmt::Debug for Record<'_, WORDS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").field("tag", &self.tag()).field("words", &self.words()).finish()
    }
}

impl<const WORDS: usize> fmt::Debug for Words<'_, WORDS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}
