//! The writing end, and why a signal may interrupt it anywhere.
//!
//! All producers of a ring run on one thread. They are not concurrent: a handler that interrupts a producer runs to its
//! end before the interrupted code goes on. So a producer that stores and later restores a value (`depth`) needs no
//! read-modify-write for it, while one that leaves a value changed (`reserved`, `head`) is seen by the interrupted code
//! as a change between two of its instructions.
//!
//! A record's life:
//!
//! ```text
//!  reserve   1  depth    := d + 1                       from here on, nested producers do not publish
//!            2  tail, start := load tail, load reserved
//!            3  reserved := start + room,  if still start; otherwise again from 2
//!            4  header   := padding of `room` words     the record can be skipped from its first moment
//!  push      5  words    := …
//!  end       6  header   := what was used
//!            7  reserved := start + used,  if still start + room (nothing nested is behind us);
//!               otherwise header := `room` words, of which `used` are used
//!            8  h        := load head
//!            9  depth    := d
//!           10  if d = 0:  r := load reserved;  head := r,  if still h
//! ```
//!
//! **What a nested producer may do.** It comes between two of these lines and leaves `depth` as it was. If it finds
//! `depth` ≥ 1 it does not touch `head`; it leaves `reserved` equal (it gave everything back) or greater.
//!
//! **No unfinished record is shown.** `head` is only ever changed in 10, to a value that `reserved` had after 9 stored
//! 0. Every producer keeps `depth` ≥ 1 from before its 3 until its 9, so when `depth` is 0 no record below `reserved`
//! is unfinished; and later ones start at or above that value, since a producer never lowers `reserved` below its own
//! start.
//!
//! **No record stays behind.** Whoever brings `depth` back to 0 publishes all below `reserved`; so does a refused
//! reservation, since between its 1 and its refusal a nested producer may have left a record. A signal
//!   - before 1 or after 9 of the outermost producer finds `depth` 0: its producer is outermost itself and publishes
//!     what it leaves, and our own record with it if that is finished;
//!   - between those finds `depth` ≥ 1: its records are below the `reserved` that the outermost loads in 10.
//!
//! **No record is taken back.** `head` never decreases. Between 8 and 9 nobody changes it. If a nested producer changes
//! it after 9, to something greater, the exchange in 10 fails, rightly: what that producer published was all there was,
//! our record included, and at least `r`. Otherwise the exchange replaces h by an `r` that is not less, since
//! `reserved` is never below `head`: 7 lowers it to `start` at the least, while `depth` ≥ 1, and `head` was at most
//! `start` at 3 and has not changed since 1.
//!
//! **No record is overwritten.** 3 and 7 are compare-exchanges: if a nested producer left a record between the load and
//! the exchange, `reserved` has changed, and nothing can bring it back to the old value. (One that gave everything back
//! leaves the old value; then the words are free.) Space is judged by a `tail` loaded before `reserved`: it may be old,
//! so the space is at least what it says.
//!
//! **Bounded.** 3 fails only when a signal arrived in a gap of a few instructions and left a record. After
//! [`CLAIM_ATTEMPTS`] such signals in a row the reservation is refused like one for which there is no room. Nothing
//! else repeats.
//!
//! Two kinds of order keep the lines in this order. *On the thread itself*, a handler sees all that the processor did
//! before the interrupted instruction and nothing after it, so only the compiler must be kept from moving lines: that is
//! what [`compiler_fence`] does, and it costs no instruction. *Towards the consumer*, the release at 10 makes all earlier
//! stores of this thread visible to whoever acquires `head`, and the acquire of `tail` in 2 keeps our stores in 5 behind
//! the consumer's reads of what was there before.
//!
//! A producer that never comes to its end (its handler was left by `longjmp`, its `Reservation` was forgotten) is
//! harmless when nested: line 4 makes its record padding, and the outer's line 9 restores `depth`. When outermost, the
//! ring publishes nothing more; it fills up and every further record is counted as dropped.

use std::marker::PhantomData;

use super::Ring;
use super::header::{Header, MAX_TOTAL};
use crate::sync::{Ordering, compiler_fence};

/// How often a reservation tries again because a signal came in between.
const CLAIM_ATTEMPTS: usize = 8;

/// A record being written. Dropped without [`commit`](Self::commit), it is taken back and the consumer never sees it.
#[must_use = "a record that is not committed is taken back"]
#[derive(Debug)]
pub struct Reservation<'a, const WORDS: usize> {
    ring: &'a Ring<WORDS>,
    /// Where the header is.
    pub(super) start: u64,
    /// Words reserved, header included.
    room: u64,
    /// Words written, header included.
    used: u64,
    /// `depth` outside of this record.
    depth: u64,
    /// Set by `commit`.
    tag: Option<u32>,
    /// The record must end on the thread, and at the nesting depth, where it began.
    not_send: PhantomData<*const ()>,
}

impl<const WORDS: usize> Ring<WORDS> {
    /// Makes room for a record of up to `payload` words. `None` when the ring is too full (or was interrupted absurdly
    /// often): the caller then counts the loss with [`Ring::count_dropped`].
    ///
    /// Only on the ring's own thread, and there in signal handlers too. Records that overlap must be nested: the one
    /// reserved last is committed or dropped first, as handlers do by themselves.
    #[inline]
    pub fn reserve(&self, payload: usize) -> Option<Reservation<'_, WORDS>> {
        let room = (payload as u64).saturating_add(1);
        if room > MAX_TOTAL {
            return None;
        }
        // A plain load and store: a handler in between restores what it found.
        let depth = self.producer.depth.load(Ordering::Relaxed);
        self.producer.depth.store(depth.wrapping_add(1), Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst); // line 1 before line 2
        let Some(start) = self.claim(room) else {
            self.leave(depth);
            return None;
        };
        compiler_fence(Ordering::SeqCst); // line 3 before lines 4 and 5
        self.set_header(start, Header { total: room, used: 0, tag: 0 });
        Some(Reservation { ring: self, start, room, used: 1, depth, tag: None, not_send: PhantomData })
    }

    /// Lines 2 and 3: advances `reserved` by `room` and returns where it was.
    #[inline]
    fn claim(&self, room: u64) -> Option<u64> {
        let reserved = &self.producer.reserved;
        for _ in 0..CLAIM_ATTEMPTS {
            // Acquire: our stores into the space that this tail frees come after the consumer's reads of it.
            let tail = self.consumer.tail.load(Ordering::Acquire);
            let start = reserved.load(Ordering::Relaxed);
            if start.saturating_sub(tail).saturating_add(room) > WORDS as u64 {
                return None;
            }
            // Relaxed: only this thread looks at `reserved`.
            if reserved
                .compare_exchange(start, start.wrapping_add(room), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
            {
                return Some(start);
            }
        }
        None
    }

    /// Lines 8 to 10: this producer is done, `depth` goes back to what it was outside.
    #[inline]
    fn leave(&self, depth: u64) {
        let head = self.producer.head.load(Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst); // all of the record, and the load of head, before line 9
        self.producer.depth.store(depth, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst); // line 9 before line 10
        if depth == 0 {
            let reserved = self.producer.reserved.load(Ordering::Relaxed);
            // Release: the consumer that acquires this sees every word below it. Failure is success: somebody nested
            // published at least as much. (Not `fetch_max`: ThreadSanitizer does not see that one.)
            let _ = self.producer.head.compare_exchange(head, reserved, Ordering::Release, Ordering::Relaxed);
        }
    }

    #[inline]
    fn set_header(&self, position: u64, header: Header) {
        self.word(position).store(header.to_word());
    }
}

impl<const WORDS: usize> Reservation<'_, WORDS> {
    /// Appends a word to the payload; `false`, and no effect, when the reserved room is used up.
    #[inline]
    pub fn push(&mut self, word: u64) -> bool {
        let has_room = self.used < self.room;
        if has_room {
            self.ring.word(self.start.wrapping_add(self.used)).store(word);
            self.used += 1;
        }
        has_room
    }

    /// Replaces a payload word that was pushed before (a count, an end reason: what is known late); `false`, and no
    /// effect, when there is none at `index`.
    #[inline]
    pub fn set(&mut self, index: usize, word: u64) -> bool {
        let exists = index < self.len();
        if exists {
            self.ring.word(self.start.wrapping_add(1 + index as u64)).store(word);
        }
        exists
    }

    /// The number of payload words pushed so far.
    #[must_use]
    pub fn len(&self) -> usize {
        (self.used - 1) as usize
    }

    /// Whether no payload word has been pushed yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.used == 1
    }

    /// Ends the record with the payload pushed so far and gives the rest of the room back. `tag` is the caller's, for
    /// instance the kind of sample.
    #[inline]
    pub fn commit(mut self, tag: u32) {
        self.tag = Some(tag);
        // `drop` ends the record: there is one way out, whether committed or not.
    }

    /// Line 7: frees the room behind the first `used` words, unless a nested record lies behind it.
    #[inline]
    fn give_back(&self, used: u64) -> bool {
        let (end, used_end) = (self.start.wrapping_add(self.room), self.start.wrapping_add(used));
        let reserved = &self.ring.producer.reserved;
        reserved.compare_exchange(end, used_end, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

impl<const WORDS: usize> Drop for Reservation<'_, WORDS> {
    #[inline]
    fn drop(&mut self) {
        let (used, tag) = match self.tag {
            Some(tag) => (self.used, tag),
            None => (0, 0),
        };
        self.ring.set_header(self.start, Header { total: used, used, tag });
        compiler_fence(Ordering::SeqCst); // our stores before line 7: it frees words that the next producer writes
        if used < self.room && !self.give_back(used) {
            self.ring.set_header(self.start, Header { total: self.room, used, tag });
        }
        self.ring.leave(self.depth);
    }
}
