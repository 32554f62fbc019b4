//! From a subscriber's span id to the record of the span: a lock-free side table.
//!
//! Looking a span up in the registry's extensions costs several times as much as all else that an enter does, so the
//! layer keeps its own table. It is an array of buckets of eight keys; a full bucket overflows into a table twice as
//! large, and so on, up to [`LEVELS`]. A key is inserted once, by the thread that opens the span; looked up by any thread
//! that enters it; removed by the thread that closes it. Those calls are ordered by whatever handed the span from thread
//! to thread, so a key's own fields need no more than acquire and release.

use super::record::RecordIndex;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

const WAYS: usize = 8;
/// Buckets of the smallest table: 512 × 8 = 4,096 spans in 64 KiB.
const FIRST: usize = 512;
/// The largest table has 512 << 8 buckets, so all together hold about two million spans.
const LEVELS: usize = 9;

/// The spans that are open under one subscriber.
#[derive(Debug)]
pub(crate) struct SpanTable {
    /// The smallest table. It is always there and its size is a constant, because nearly all lookups end in it.
    first: Box<[Bucket; FIRST]>,
    /// The larger tables, made when they are needed.
    levels: [OnceLock<Box<[Bucket]>>; LEVELS - 1],
    /// How many of those are in use, so that a lookup of an unknown key stops early.
    used: AtomicUsize,
}

#[repr(align(64))]
#[derive(Debug, Default)]
struct Bucket {
    /// The spans' keys; 0 is free, [`CLAIMED`] is being written.
    keys: [AtomicU64; WAYS],
    records: [AtomicU32; WAYS],
}

const FREE: u64 = 0;
const CLAIMED: u64 = u64::MAX;
/// Set in a stored record number when its ids are final. Record numbers stay far below it.
const SETTLED: u32 = 1 << 31;

impl SpanTable {
    pub(crate) fn new() -> Self {
        Self {
            first: Box::new(std::array::from_fn(|_| Bucket::default())),
            levels: [const { OnceLock::new() }; LEVELS - 1],
            used: AtomicUsize::new(0),
        }
    }

    /// Stores the record of the span `key` (neither 0 nor `u64::MAX`). `false` when there is no room: the span is
    /// then not known here, and its code counts for the span around it.
    pub(crate) fn insert(&self, key: u64, record: RecordIndex) -> bool {
        if key == FREE || key == CLAIMED {
            return false;
        }
        if self.first[slot(key, FIRST)].insert(key, record) {
            return true;
        }
        for (level, table) in self.levels.iter().enumerate() {
            let Some(buckets) = table.get().or_else(|| {
                // Made first and then set, so that a thread is inside the cell for a moment only: a fork meanwhile would
                // leave it closed in the child for good.
                let fresh = (0..FIRST << (level + 1)).map(|_| Bucket::default()).collect();
                let _another_thread_was_faster = table.set(fresh);
                table.get()
            }) else {
                return false;
            };
            self.used.fetch_max(level + 1, Ordering::Release);
            if buckets.get(slot(key, buckets.len())).is_some_and(|bucket| bucket.insert(key, record)) {
                return true;
            }
        }
        false
    }

    /// The record of the span `key` if its ids were settled and it lies in the first table: the short way for nearly all
    /// lookups.
    #[inline]
    pub(crate) fn get_settled(&self, key: u64) -> Option<RecordIndex> {
        let bucket = &self.first[slot(key, FIRST)];
        for (known, record) in bucket.keys.iter().zip(&bucket.records) {
            if known.load(Ordering::Acquire) == key {
                let value = record.load(Ordering::Acquire);
                return (value & SETTLED != 0).then_some(RecordIndex::from_u32(value & !SETTLED));
            }
        }
        None
    }

    /// The record of the span `key`, and whether its ids were [settled](Self::settle).
    pub(crate) fn get(&self, key: u64) -> Option<(RecordIndex, bool)> {
        self.find(key).map(|(bucket, way)| {
            let value = bucket.records[way].load(Ordering::Acquire);
            (RecordIndex::from_u32(value & !SETTLED), value & SETTLED != 0)
        })
    }

    /// Notes beside the key that the record's ids are final, so that an enter need not look into the record.
    pub(crate) fn settle(&self, key: u64) {
        if let Some((bucket, way)) = self.find(key) {
            bucket.records[way].fetch_or(SETTLED, Ordering::Release);
        }
    }

    /// Forgets the span `key` and returns its record.
    pub(crate) fn remove(&self, key: u64) -> Option<RecordIndex> {
        let (bucket, way) = self.find(key)?;
        // Left behind it would be settled for whoever asks for key 0, which is every free place's.
        let record = RecordIndex::from_u32(bucket.records[way].swap(0, Ordering::Relaxed) & !SETTLED);
        bucket.keys[way].store(FREE, Ordering::Release);
        Some(record)
    }

    fn find(&self, key: u64) -> Option<(&Bucket, usize)> {
        if key == FREE || key == CLAIMED {
            return None;
        }
        let bucket = &self.first[slot(key, FIRST)];
        if let Some(way) = bucket.find(key) {
            return Some((bucket, way));
        }
        let used = self.used.load(Ordering::Acquire);
        self.levels.iter().take(used).find_map(|level| {
            let buckets = level.get()?;
            let bucket = buckets.get(slot(key, buckets.len()))?;
            Some((bucket, bucket.find(key)?))
        })
    }
}

impl Bucket {
    fn find(&self, key: u64) -> Option<usize> {
        self.keys.iter().position(|known| known.load(Ordering::Acquire) == key)
    }

    fn insert(&self, key: u64, record: RecordIndex) -> bool {
        self.keys.iter().zip(&self.records).any(|(known, slot)| {
            let free = known.load(Ordering::Relaxed) == FREE
                && known.compare_exchange(FREE, CLAIMED, Ordering::Acquire, Ordering::Relaxed).is_ok();
            if free {
                slot.store(record.to_u32(), Ordering::Relaxed);
                known.store(key, Ordering::Release);
            }
            free
        })
    }
}

/// The bucket of `key` in a table of `buckets` (a power of two): the high bits of a multiplicative hash.
#[inline]
const fn slot(key: u64, buckets: usize) -> usize {
    (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize & (buckets - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_found_until_removed_also_when_the_first_level_is_full() {
        let table = SpanTable::new();
        let count = 20_000u32;
        for i in 1..=count {
            assert!(table.insert(u64::from(i) * 7, RecordIndex::from_u32(i)));
        }
        assert!(table.used.load(Ordering::Relaxed) > 0, "20,000 spans need more than one level");
        for i in 1..=count {
            assert_eq!(table.get(u64::from(i) * 7), Some((RecordIndex::from_u32(i), false)));
        }
        for i in (1..=count).step_by(2) {
            assert_eq!(table.remove(u64::from(i) * 7), Some(RecordIndex::from_u32(i)));
        }
        for i in 1..=count {
            assert_eq!(table.get(u64::from(i) * 7).is_some(), i % 2 == 0);
        }
    }

    #[test]
    fn reserved_keys_are_refused() {
        let table = SpanTable::new();
        assert!(
            !table.insert(0, RecordIndex::from_u32(1)) && !table.insert(u64::MAX, RecordIndex::from_u32(1))
        );
        assert_eq!((table.get(0), table.get_settled(0)), (None, None));
        table.insert(9, RecordIndex::from_u32(1));
        table.settle(9);
        assert_eq!(table.get_settled(9), table.remove(9));
        (0..=u64::MAX >> 50).for_each(|key| assert_eq!(table.get_settled(key), None));
    }
}
