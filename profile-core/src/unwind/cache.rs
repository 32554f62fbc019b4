//! From an address straight to its rule, shared by all threads without a lock.
//!
//! A direct-mapped table of 16,384 words. A word holds the whole address (48 bits) above the rule's id (16), so a hit is
//! never a guess, and a word is written and read at once, so it is never torn. Nothing is ordered by it: the rules it
//! names were published with the set that the cache belongs to, and every set has a cache of its own, so an entry
//! cannot outlive the modules it was made from.

use super::arch::{Architecture, Native};
use super::rule::RuleId;
use std::sync::atomic::{AtomicU64, Ordering};

const INDEX_BITS: u32 = 14;
const RULE_BITS: u32 = 16;
/// The first address that does not fit beside the id. User space ends there or below.
const ADDRESS_END: u64 = 1 << (64 - RULE_BITS);

/// Address to rule id.
pub(super) struct RuleCache {
    entries: Box<[AtomicU64]>,
}

impl RuleCache {
    /// An empty cache. Its pages are written here, so that the handler does not fault them in.
    pub(super) fn new() -> Self {
        Self { entries: (0..1 << INDEX_BITS).map(|_| AtomicU64::new(0)).collect() }
    }

    /// The id for `address`: from the cache, or from `lookup`, which is then remembered.
    ///
    /// Called in the signal handler: a load, a comparison and seldom a store.
    #[inline]
    pub(super) fn get_or(&self, address: u64, lookup: impl FnOnce() -> RuleId) -> RuleId {
        let Some(entry) = self.entries.get(index(address)).filter(|_| address < ADDRESS_END) else {
            return lookup();
        };
        // Relaxed: the word is whole by itself.
        let known = entry.load(Ordering::Relaxed);
        if known >> RULE_BITS == address {
            return RuleId(known as u16);
        }
        let rule = lookup();
        entry.store(address << RULE_BITS | u64::from(rule.0), Ordering::Relaxed);
        rule
    }
}

/// The low bits, which vary most. Anything cleverer is in the way: the walk waits for this at every frame.
#[inline]
const fn index(address: u64) -> usize {
    (address >> Native::ALIGNMENT_BITS & ((1 << INDEX_BITS) - 1)) as usize
}

impl std::fmt::Debug for RuleCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RuleCache").field("entries", &self.entries.len()).finish()
    }
}

#[cfg(test)]
#[cfg(not(loom))] // whose build has no dev-dependencies
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_hit_is_what_the_lookup_said(addresses in prop::collection::vec(any::<u64>(), 1..400)) {
            let cache = RuleCache::new();
            let truth = |address: u64| RuleId((address % 65_521) as u16);
            // Neighbours that share an index with each address, and addresses beyond user space.
            let near = addresses.iter().flat_map(|a| [*a, a ^ (1 << 20), a & 0xffff_ffff_ffff, a ^ (1 << 40)]);
            for address in near.clone().chain(near).filter(|address| *address != 0) {
                prop_assert_eq!(cache.get_or(address, || truth(address)), truth(address));
            }
        }
    }

    #[test]
    fn a_second_question_is_a_hit() {
        let cache = RuleCache::new();
        assert_eq!(cache.get_or(0x5555_0000_1234, || RuleId(7)), RuleId(7));
        assert_eq!(cache.get_or(0x5555_0000_1234, || panic!("must not be asked again")), RuleId(7));
    }
}
