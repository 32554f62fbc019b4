//! The sample ring: how one thread hands its samples to the collector without ever waiting for it.
//!
//! Every profiled thread owns one ring. It is written on that thread only, and read by the collector only. It is a
//! circular array of 64-bit words that holds records of any length, back to back; a record may wrap around the end.
//!
//! ```text
//!        tail               head                   reserved
//!         │                  │                        │
//!   free  ▼    published     ▼   reserved, maybe      ▼   free
//!  ·······[rec][rec][pad][rec][rec being written][rec]·········
//!         └─ the consumer reads ─┘ └── only the producing thread looks here
//!
//!  record:  header │ payload word 0 │ payload word 1 │ …          (`header.rs` has the header's layout)
//! ```
//!
//! The three positions count words since the ring was made and never decrease as far as another thread can see; a
//! position's word is found by masking. At a million words a second a position overflows after 580,000 years.
//!
//! **Producers nest.** A signal that asks for a CPU sample may interrupt, at any instruction, the same thread's code
//! that is writing a heap or lock sample into the same ring, so a record is *reserved*, then written, then *committed*
//! ([`Ring::reserve`], [`Reservation`]). The nested record is placed behind the interrupted one, and becomes visible
//! to the consumer together with it, when the outermost record is finished. `producer.rs` argues why no interruption
//! loses a record or shows an unfinished one.
//!
//! **Nothing waits.** A record that does not fit is refused, and the caller counts it with [`Ring::count_dropped`], so
//! that the loss is visible in the profile. The producer allocates nothing, takes no lock, makes no system call, cannot
//! panic, and its only loop is bounded.
//!
//! **No unsafe code.** The words are atomics, read and written with relaxed order, which is a plain move on every
//! processor we know. Misuse (a second producing thread) can therefore garble records, but not memory; the consumer
//! takes no length in the ring on trust.
//!
//! **Memory.** A ring of zero bytes is an empty ring, and a ring needs no drop: it can lie in mapped memory that is
//! never unmapped and is recycled from thread to thread ([`Consumer::reset`]).

mod consumer;
mod header;
mod producer;
#[cfg(test)]
mod tests;

use std::fmt;

use self::header::Header;
use crate::sync::interruptible::AtomicU64;
use crate::sync::{AtomicBool, Ordering, Word};

pub use self::consumer::{Consumer, Drained, Record, Words};
pub use self::producer::Reservation;

/// The number of words in a ring unless its type says otherwise: 32 KiB.
pub const DEFAULT_WORDS: usize = 4096;

/// How many kinds of records have their own counter of losses ([`Ring::count_dropped`]).
pub const DROP_KINDS: usize = 8;

/// A ring of `WORDS` 64-bit words, a power of two, between one producing thread and one consumer.
#[repr(C)]
pub struct Ring<const WORDS: usize = DEFAULT_WORDS> {
    producer: ProducerSide,
    consumer: ConsumerSide,
    /// Added to by the producing thread, taken by the consumer.
    dropped: [DropCounter; DROP_KINDS],
    /// Written by the producing thread between `tail` and `reserved`, read by the consumer below `head`.
    words: [Word; WORDS],
}

/// Written by the producing thread only. A cache line of its own, as the consumer seldom looks.
#[repr(C, align(64))]
struct ProducerSide {
    /// Up to here words belong to records, finished or not. Read on the producing thread only.
    reserved: AtomicU64,
    /// How many producers are nested right now, not counting those that only have to publish. Read on the producing
    /// thread only.
    depth: AtomicU64,
    /// Up to here records are finished. The consumer acquires what was released with it.
    head: AtomicU64,
}

/// Written by the consumer only.
#[repr(C, align(64))]
struct ConsumerSide {
    /// Up to here records have been read. The producer acquires the end of those reads with it.
    tail: AtomicU64,
    /// Whether a [`Consumer`] exists.
    taken: AtomicBool,
}

#[repr(C)]
struct DropCounter {
    records: AtomicU64,
    weight: AtomicU64,
}

/// Records that did not fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// How many.
    pub records: u64,
    /// The sum of their weights, in the unit of their kind.
    pub weight: u64,
}

impl<const WORDS: usize> Ring<WORDS> {
    /// Turns a position into an index. Also the compile-time check of `WORDS`.
    const MASK: usize = {
        assert!(WORDS.is_power_of_two() && WORDS >= 2, "a ring's length must be a power of two");
        WORDS - 1
    };

    /// An empty ring. Memory that is all zero is the same.
    #[must_use]
    pub fn new() -> Self {
        Self {
            producer: ProducerSide {
                reserved: AtomicU64::new(0),
                depth: AtomicU64::new(0),
                head: AtomicU64::new(0),
            },
            consumer: ConsumerSide { tail: AtomicU64::new(0), taken: AtomicBool::new(false) },
            dropped: std::array::from_fn(|_| DropCounter {
                records: AtomicU64::new(0),
                weight: AtomicU64::new(0),
            }),
            words: std::array::from_fn(|_| Word::new(0)),
        }
    }

    /// The reading end, or `None` while another [`Consumer`] exists.
    pub fn consumer(&self) -> Option<Consumer<'_, WORDS>> {
        // Acquire: what the last consumer did, up to its release in `drop`, happened before what this one does.
        self.consumer
            .taken
            .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
            .then_some(Consumer { ring: self })
    }

    /// Frees the reading end in the child of a fork, where the [`Consumer`] that the parent may have had does not exist.
    pub fn forget_consumer(&self) {
        self.consumer.taken.store(false, Ordering::Release);
    }

    /// Counts a record that found no room. `kind` is the caller's number for what `weight` measures (CPU ticks, bytes,
    /// nanoseconds); numbers from [`DROP_KINDS`] on share the last counter. Safe in a signal handler.
    pub fn count_dropped(&self, kind: usize, weight: u64) {
        let counter = &self.dropped[kind.min(DROP_KINDS - 1)];
        // Read-modify-write, as a handler may interrupt and count too, and the consumer may take at any time. Relaxed:
        // the counters order nothing; that the two are not taken as a pair moves at most one record's count or weight
        // into the next window.
        counter.records.fetch_add(1, Ordering::Relaxed);
        counter.weight.fetch_add(weight, Ordering::Relaxed);
    }

    /// The word at a position. The mask keeps the index inside, so this cannot panic and has no check.
    fn word(&self, position: u64) -> &Word {
        &self.words[position as usize & Self::MASK]
    }
}

impl<const WORDS: usize> Default for Ring<WORDS> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const WORDS: usize> fmt::Debug for Ring<WORDS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("words", &WORDS)
            .field("tail", &self.consumer.tail.load(Ordering::Relaxed))
            .field("head", &self.producer.head.load(Ordering::Relaxed))
            .field("reserved", &self.producer.reserved.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}
