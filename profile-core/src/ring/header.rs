//! The first word of a record.
//!
//! ```text
//!  bits  0..16   total: words the record occupies, header included; never 0
//!  bits 16..32   used:  words that carry something, header included; 0 = padding, to be skipped
//!  bits 32..64   tag:   the caller's
//! ```
//!
//! `used` is less than `total` where a record needed less than was reserved for it, and the rest could not be given
//! back because another record lies behind it already.

/// The largest number of words in a record, header included.
pub(super) const MAX_TOTAL: u64 = u16::MAX as u64;

/// The parts of a header word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Words occupied, header included: `1..=MAX_TOTAL`.
    pub(super) total: u64,
    /// Words that carry something, header included; 0 for padding.
    pub(super) used: u64,
    /// The caller's 32 bits.
    pub(super) tag: u32,
}

impl Header {
    /// The header as a word. Both lengths must be at most [`MAX_TOTAL`].
    pub(super) fn to_word(self) -> u64 {
        u64::from(self.tag) << 32 | self.used << 16 | self.total
    }

    /// The parts of any word at all; [`Self::fits`] says whether they make sense.
    pub(super) fn from_word(word: u64) -> Self {
        Self { total: word & MAX_TOTAL, used: word >> 16 & MAX_TOTAL, tag: (word >> 32) as u32 }
    }

    /// Whether a record with this header can lie in `available` words.
    pub(super) fn fits(self, available: u64) -> bool {
        1 <= self.total && self.total <= available && self.used <= self.total
    }

    /// Whether the consumer is to skip the record.
    pub(super) fn is_padding(self) -> bool {
        self.used == 0
    }
}
