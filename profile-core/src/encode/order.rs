//! In which order rows and samples are written, so that gzip finds what repeats.
//!
//! The order of a table is the writer's choice: rows are referred to by number. Compressors copy what they have seen within
//! the last 32 KiB, so what is alike should be neighbours:
//!
//! * Locations that are in many stacks have the short numbers, one byte for the first 127. Those with numbers of one length
//!   are in the order of their addresses.
//! * Stacks of as many bytes follow one another, in the order of these bytes from the last one on: each is mostly a copy of
//!   the one before, its length included, up to the frames near the leaf. What counts are the bytes that their locations
//!   would have if all were numbered by use.
//! * Samples of one label set and one weight follow one another: they differ in the number of the stack only. They are in the
//!   order of its low bytes, an eighth of their values at a time ([`turn`]), so that the bytes of a block have few values.
//!
//! Only numbers are kept for this, four bytes a row or a sample, and no copies. What is read back and written again keeps
//! its order. How many bytes it saves: `tests/encode_size.rs`.

use super::wire::{varint, width};
use crate::profile::Profile;
use crate::profile::dictionary::{Dictionary, LocationIndex, StackIndex};
use crate::profile::merge::Numbers;
use crate::profile::sample::Exported;
use crate::profile::table::Index;
use std::cmp::{Ordering, Reverse};

/// The order of those tables of a dictionary that are not written as they are.
pub(super) struct Order {
    pub(super) locations: Permutation<LocationIndex>,
    pub(super) stacks: Permutation<StackIndex>,
}

/// The order of one table. Row 0 stays the first.
pub(super) struct Permutation<I> {
    /// The rows' indices in the order in which they are written.
    indices: Vec<I>,
    /// The number that each row has then.
    numbers: Vec<u32>,
}

impl Order {
    pub(super) fn of(dictionary: &Dictionary) -> Self {
        let stacks = dictionary.stacks.rows();
        let mut uses = vec![0_u32; dictionary.locations.len()];
        for location in stacks.iter().flatten() {
            if let Some(uses) = uses.get_mut(location.row() as usize) {
                *uses = uses.saturating_add(1);
            }
        }
        let address = |index: &LocationIndex| {
            let location = dictionary.locations.get(*index);
            (location.mapping, location.address)
        };
        let by_uses = |index: &LocationIndex| (Reverse(at(&uses, *index)), address(index));
        let ranks = Permutation::sorted(uses.len(), |a, b| by_uses(a).cmp(&by_uses(b)));
        let place = |index: &LocationIndex| (width(ranks.number(*index).into()), address(index));
        let locations = Permutation::sorted(uses.len(), |a, b| place(a).cmp(&place(b)));
        let outer_first = |index: StackIndex| {
            let stack = dictionary.stacks.get(index).iter();
            stack.rev().map(|location| u64::from(ranks.number(*location)))
        };
        let bytes = |index| outer_first(index).map(width).sum::<usize>();
        let bytes: Vec<usize> = (0..stacks.len() as u32).map(StackIndex::from_row).map(bytes).collect();
        let backwards = |index| outer_first(index).flat_map(backwards);
        let stacks = Permutation::sorted(stacks.len(), |a, b| {
            at(&bytes, *a).cmp(&at(&bytes, *b)).then_with(|| backwards(*a).cmp(backwards(*b)))
        });
        Self { locations, stacks }
    }

    /// The samples of `profile`, of which `numbers` says where their stacks are in the dictionary.
    pub(super) fn samples(&self, profile: &Profile, numbers: &Numbers<'_>) -> impl Iterator<Item = Exported> {
        let place = |one: &Exported| turn(self.stacks.number(numbers.stack(one.stack)));
        profile.exported_by(move |one| (one.labels, one.weight, place(one)))
    }
}

impl<I: Index> Permutation<I> {
    /// The order of a table of `rows` rows by `compare`; what is equal stays in its order.
    fn sorted(rows: usize, mut compare: impl FnMut(&I, &I) -> Ordering) -> Self {
        let mut indices: Vec<I> = (0..rows as u32).map(I::from_row).collect();
        if let Some((_zero, rows)) = indices.split_first_mut() {
            rows.sort_by(|a, b| compare(a, b));
        }
        let mut numbers = vec![0; rows];
        for (number, index) in (0..).zip(&indices) {
            if let Some(slot) = numbers.get_mut(index.row() as usize) {
                *slot = number;
            }
        }
        Self { indices, numbers }
    }

    /// The number of a row where it is written.
    pub(super) fn number(&self, index: I) -> u32 {
        at(&self.numbers, index)
    }

    /// The rows in the order in which they are written.
    pub(super) fn indices(&self) -> &[I] {
        &self.indices
    }
}

/// Where a stack is in the order of samples: its number with the upper three bits of the low seven moved to the top.
///
/// The seven are a byte of their own when written, and the only one that changes from a sample to the next where numbers just
/// grow. A code for it costs three bits a sample more where all its 128 values occur than where 16 do, as here, for as long as
/// [a block of gzip](super::sections) lasts.
fn turn(number: u32) -> u32 {
    const UPPER: u32 = 0b111_0000;
    const LOWER: u32 = 0b000_1111;
    (number & UPPER) << 25 | (number >> 7) << 4 | number & LOWER
}

/// The bytes of a number as it is written, the last one first.
fn backwards(number: u64) -> impl Iterator<Item = u8> {
    let (bytes, width) = varint(number);
    bytes.into_iter().take(width).rev()
}

/// The entry for a row; the zero value for a row that is not there.
fn at<T: Copy + Default>(entries: &[T], index: impl Index) -> T {
    entries.get(index.row() as usize).copied().unwrap_or_default()
}
