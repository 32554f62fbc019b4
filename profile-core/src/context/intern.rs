//! A lock-free table of distinct values that are never forgotten, each known by a number.
//!
//! A value is written once, by the thread that claimed its number, and becomes reachable by a compare-exchange on a slot
//! of the hash index, so a thread that dies or a fork in the middle of an insertion leaves nothing locked behind. The
//! table is bounded; what does not fit is for its owner to name. Numbers are what samples carry: a signal handler copies
//! them and never looks behind them.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Up to `ROWS` values; `SLOTS` is twice as many, so that probing stays short even when the table is full.
pub(super) struct Interner<T, const ROWS: usize, const SLOTS: usize> {
    rows: [OnceLock<T>; ROWS],
    /// The next unclaimed row.
    next: AtomicU32,
    index: [AtomicU32; SLOTS],
}

/// "No value": an empty slot, and the number of no row.
pub(super) const NONE: u32 = 0;

/// The row that a full table's owner puts its visible answer in.
pub(super) const OVERFLOW: u32 = 1;

impl<T, const ROWS: usize, const SLOTS: usize> Interner<T, ROWS, SLOTS> {
    /// A table without values.
    pub(super) const fn new() -> Self {
        Self {
            rows: [const { OnceLock::new() }; ROWS],
            next: AtomicU32::new(OVERFLOW + 1),
            index: [const { AtomicU32::new(NONE) }; SLOTS],
        }
    }

    /// The value of a number.
    pub(super) fn get(&self, number: u32) -> Option<&T> {
        self.rows.get(number as usize)?.get()
    }

    /// The number of the value that `is` tells, which must be one of hash `hash`; made if there is none. `None` when the
    /// table is full.
    pub(super) fn intern(&self, hash: u64, is: impl Fn(&T) -> bool, make: impl Fn() -> T) -> Option<u32> {
        self.enter(hash, is, make).map(|(number, _)| number)
    }

    /// The same; and whether it was this call that entered it, and not another thread's meanwhile.
    pub(super) fn enter(
        &self,
        hash: u64,
        is: impl Fn(&T) -> bool,
        make: impl Fn() -> T,
    ) -> Option<(u32, bool)> {
        let mut claimed = None;
        for slot in self.probe(hash) {
            let mut found = slot.load(Ordering::Acquire);
            if found == NONE {
                let fresh = match claimed {
                    Some(fresh) => fresh,
                    None => self.claim(&make)?,
                };
                claimed = Some(fresh);
                match slot.compare_exchange(NONE, fresh, Ordering::Release, Ordering::Acquire) {
                    Ok(_) => return Some((fresh, true)),
                    // Another thread took the slot, perhaps for this very value. A row claimed in vain stays unused.
                    Err(winner) => found = winner,
                }
            }
            if self.get(found).is_some_and(&is) {
                return Some((found, false));
            }
        }
        None
    }

    /// The number of the value that `is` tells, if there is one.
    pub(super) fn find(&self, hash: u64, is: impl Fn(&T) -> bool) -> Option<u32> {
        let taken =
            self.probe(hash).map(|slot| slot.load(Ordering::Acquire)).take_while(|found| *found != NONE);
        taken.into_iter().find(|found| self.get(*found).is_some_and(&is))
    }

    /// Fills the overflow row, unless it is filled, and gives its number.
    pub(super) fn overflow(&self, make: impl FnOnce() -> T) -> u32 {
        if let Some(row) = self.rows.get(OVERFLOW as usize) {
            row.get_or_init(make);
        }
        OVERFLOW
    }

    /// Every number in use.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> {
        let end = (self.next.load(Ordering::Acquire) as usize).min(ROWS);
        (OVERFLOW..end as u32).filter(|number| self.get(*number).is_some())
    }

    fn probe(&self, hash: u64) -> impl Iterator<Item = &AtomicU32> {
        let start = (hash >> 32) as usize;
        (0..SLOTS).map(move |step| &self.index[start.wrapping_add(step) % SLOTS])
    }

    /// Takes an unused row and writes it; `None` when the table is full.
    fn claim(&self, make: impl Fn() -> T) -> Option<u32> {
        // Checked before it is counted up, so that a full table cannot run the counter round.
        if self.next.load(Ordering::Relaxed) as usize >= ROWS {
            return None;
        }
        // Made before its number is claimed: what makes it may allocate, and take its time.
        let value = make();
        let number = self.next.fetch_add(1, Ordering::AcqRel);
        self.rows.get(number as usize)?.set(value).ok()?;
        Some(number)
    }
}

/// A hash of a number and a text, good in its upper half.
pub(super) fn hash(seed: u32, text: &[u8]) -> u64 {
    const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut hash = u64::from(seed).wrapping_mul(ODD) ^ text.len() as u64;
    for chunk in text.chunks(8) {
        let word = chunk.iter().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
        hash = (hash ^ word).wrapping_mul(ODD).rotate_left(29);
    }
    hash.wrapping_mul(ODD)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What another thread does meanwhile, done where it hurts: between the look for a value and its entry.
    #[test]
    fn of_two_that_enter_a_value_at_once_one_is_told_that_it_was_the_one() {
        let table = Interner::<&str, 8, 16>::new();
        let is = |known: &&str| *known == "value";
        let winner = std::cell::Cell::new(None);
        let make = || {
            winner.set(table.enter(7, is, || "value"));
            "value"
        };
        let (number, is_new) = table.enter(7, is, make).unwrap();
        assert_eq!((winner.get(), is_new), (Some((number, true)), false));
        assert_eq!(table.enter(7, is, || "value"), Some((number, false)));
        assert_eq!(table.get(number), Some(&"value"));
    }
}
