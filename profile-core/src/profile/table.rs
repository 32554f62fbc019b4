//! A table of distinct rows, found by value and referred to by index.
//!
//! Rows are kept in the order they came in; a hash table of row numbers finds an equal row, so a row is stored once
//! and compared by value: two rows with one hash stay two rows. Row 0 is always the zero value of the row type, as
//! OTLP and pprof demand of their tables, so index 0 means "none" everywhere.
//!
//! Each table has an index type of its own; an index of one table does not compile as an index of another.

use hashbrown::{DefaultHashBuilder, HashTable};
use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::marker::PhantomData;
use std::mem::size_of;

/// The number of a row in one kind of table.
pub(crate) trait Index: Copy {
    /// The index of row `row`.
    fn from_row(row: u32) -> Self;
    /// Which row it is.
    fn row(self) -> u32;
}

/// Defines index types: a `u32` each, 0 for "none".
macro_rules! index_types {
    ($($(#[$doc:meta])* $name:ident;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub(crate) struct $name(u32);

        impl $crate::profile::table::Index for $name {
            fn from_row(row: u32) -> Self {
                Self(row)
            }

            fn row(self) -> u32 {
                self.0
            }
        }
    )+};
}
pub(crate) use index_types;

/// Distinct rows of type `T`, referred to by `I`.
#[derive(Clone)]
pub(crate) struct Table<I, T> {
    rows: Vec<T>,
    /// What an index that is not of this table reads as.
    zero: T,
    numbers: HashTable<u32>,
    hasher: DefaultHashBuilder,
    index: PhantomData<I>,
}

/// The most rows of a table: OTLP refers to rows by a signed 32-bit number.
const MAX_ROWS: usize = i32::MAX as usize;

impl<I: Index, T: Default + Eq + Hash> Table<I, T> {
    /// A table that holds the zero value alone.
    pub(crate) fn new() -> Self {
        let mut table = Self {
            rows: Vec::new(),
            zero: T::default(),
            numbers: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            index: PhantomData,
        };
        table.intern(T::default());
        table
    }

    /// The index of the row that equals `row`, which is added if there is none. A table that is full to the last
    /// number of its index type answers 0.
    pub(crate) fn intern(&mut self, row: T) -> I {
        if let Some(found) = self.find(&row) {
            return found;
        }
        match u32::try_from(self.rows.len()) {
            Ok(number) if self.rows.len() < MAX_ROWS => {
                self.rows.push(row);
                self.remember(number);
                I::from_row(number)
            }
            _ => I::from_row(0),
        }
    }

    /// The index of the row that equals `row`, if there is one.
    pub(crate) fn find<Q>(&self, row: &Q) -> Option<I>
    where
        T: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let hash = self.hasher.hash_one(row);
        let same = |number: &u32| self.rows.get(*number as usize).is_some_and(|known| known.borrow() == row);
        self.numbers.find(hash, same).map(|number| I::from_row(*number))
    }

    /// Puts `row`, which the table must not hold yet, in the place of the row at `index`, which must not be 0.
    pub(crate) fn replace(&mut self, index: I, row: T) {
        let number = index.row();
        if let Some(old) = self.rows.get_mut(number as usize).filter(|_| number != 0) {
            *old = row;
            // Under the old value's hash nothing is found any more: rows are compared.
            self.remember(number);
        }
    }

    /// The row at `index`; the zero value for an index that is not of this table.
    pub(crate) fn get(&self, index: I) -> &T {
        self.rows.get(index.row() as usize).unwrap_or(&self.zero)
    }

    /// How many rows there are, the zero value included.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Makes row `number` findable by its value.
    fn remember(&mut self, number: u32) {
        let Self { rows, numbers, hasher, .. } = self;
        let Some(row) = rows.get(number as usize) else { return };
        let hash = hasher.hash_one(row);
        // The table grows: it asks for the hash of each row that it holds, all of which exist.
        numbers.insert_unique(hash, number, |known| {
            rows.get(*known as usize).map_or(0, |row| hasher.hash_one(row))
        });
    }
}

impl<I, T> Table<I, T> {
    /// All rows, the zero value first.
    pub(crate) fn rows(&self) -> &[T] {
        &self.rows
    }

    /// The bytes of its own two blocks of memory, rows and index, without what the rows point to.
    pub(crate) fn blocks(&self) -> [usize; 2] {
        [self.rows.capacity() * size_of::<T>(), self.numbers.allocation_size()]
    }
}

impl<I: Index, T: Default + Eq + Hash> Default for Table<I, T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<I, T: fmt::Debug> fmt::Debug for Table<I, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.rows).finish()
    }
}

#[cfg(test)]
#[cfg(not(loom))] // whose build has no dev-dependencies
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::hash::Hasher;
    use std::sync::Arc;

    index_types! {
        /// An index for these tests.
        TestIndex;
    }

    #[test]
    fn row_zero_is_the_zero_value_and_equal_rows_share_an_index() {
        let mut table = Table::<TestIndex, Arc<str>>::new();
        assert_eq!(table.rows(), [Arc::from("")]);
        let a = table.intern("a".into());
        let b = table.intern("b".into());
        assert_eq!((a.row(), b.row()), (1, 2));
        assert_eq!((table.intern("a".into()), table.intern("".into()).row()), (a, 0));
        assert_eq!((table.find("b"), table.find("c")), (Some(b), None));
        assert_eq!(&**table.get(TestIndex::from_row(9)), "", "a foreign index reads as zero");
    }

    #[test]
    fn rows_with_one_hash_stay_apart() {
        #[derive(Debug, Default, PartialEq, Eq)]
        struct Colliding(u32);
        impl Hash for Colliding {
            fn hash<H: Hasher>(&self, state: &mut H) {
                0u8.hash(state);
            }
        }
        let mut table = Table::<TestIndex, Colliding>::new();
        let indices: Vec<u32> = (0..200).map(|i| table.intern(Colliding(i)).row()).collect();
        assert_eq!(indices, (0..200).collect::<Vec<_>>());
    }

    #[test]
    fn a_replaced_row_is_found_by_its_new_value_only() {
        let mut table = Table::<TestIndex, u64>::new();
        let (seven, eight) = (table.intern(7), table.intern(8));
        table.replace(seven, 70);
        assert_eq!((table.find(&7), table.find(&70), table.find(&8)), (None, Some(seven), Some(eight)));
        table.replace(TestIndex::default(), 1);
        assert_eq!(table.rows(), [0, 70, 8], "row 0 stays");
    }

    proptest! {
        #[test]
        fn a_table_is_its_distinct_rows_in_order_of_arrival(rows in proptest::collection::vec(0u8..50, 0..200)) {
            let mut table = Table::<TestIndex, u8>::new();
            let indices: Vec<TestIndex> = rows.iter().map(|row| table.intern(*row)).collect();
            let mut expected = vec![0];
            for row in &rows {
                if !expected.contains(row) {
                    expected.push(*row);
                }
            }
            prop_assert_eq!(table.rows(), &expected[..]);
            prop_assert!(indices.iter().zip(&rows).all(|(index, row)| table.get(*index) == row));
        }
    }
}
