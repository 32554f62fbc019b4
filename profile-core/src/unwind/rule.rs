//! What one instruction needs to find its caller, and the names of rules.
//!
//! Rows and cache hold 16-bit ids of rules. The common rules are small enough to *be* their id (see [`CompactRule`]):
//! the walk needs no second load for them, which is a quarter of its time. All others are numbered in a table that the
//! modules share; a program of 8 MB has 233,000 rows and some 650 distinct rules. So a rule can say everything it must
//! (no offset is too large for a bit field, and none is silently cut), a row fits in 4 bytes, and a cache entry has room
//! for a whole 48-bit address beside the id, which makes a false hit impossible.

use super::arch::Architecture;
use std::collections::HashMap;

/// How to get from one frame to its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Rule {
    /// No call frame information covers this code: only here may frame pointers be tried.
    NoCfi,
    /// There is call frame information, and it cannot be followed: it needs a register that the walk does not track,
    /// an expression of an unknown form, or was malformed.
    Unsupported,
    /// The outermost frame: its return address is said to be undefined.
    Outermost,
    /// A lazily bound entry of the procedure linkage table: 16 bytes, of which the instructions from `pushed_at` on run
    /// with one more word on the stack.
    Plt { pushed_at: u8 },
    /// The trampoline to which a signal handler returns: the interrupted registers lie on the stack.
    SignalFrame,
    /// An ordinary function.
    Frame { cfa: Cfa, return_address: Saved, frame_pointer: Saved },
}

/// The canonical frame address: what the stack pointer will be in the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Cfa {
    /// The stack pointer plus an offset.
    Sp(i32),
    /// The frame pointer plus an offset.
    Fp(i32),
    /// The word at the frame pointer plus an offset (functions that realign their stack).
    AtFp(i32),
}

/// Where a caller's register is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Saved {
    /// Still in the register.
    Unchanged,
    /// In memory at the canonical frame address plus an offset.
    AtCfa(i32),
    /// In memory at the frame pointer plus an offset.
    AtFp(i32),
    /// Not known any more.
    Lost,
}

/// Names a rule: the rule itself with the highest bit set, or its number in a [`RuleTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct RuleId(pub(super) u16);

impl RuleId {
    pub(super) const NO_CFI: Self = Self(0);
    pub(super) const UNSUPPORTED: Self = Self(1);
}

/// An ordinary frame in 15 bits: the CFA is the stack or the frame pointer plus up to 511 words, the frame pointer is
/// unchanged or saved up to 31 words below the CFA, and the return address is where the architecture's calls and
/// prologues put it ([`Architecture::return_slot`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CompactRule {
    /// Whether the CFA is relative to the frame pointer.
    pub(super) from_fp: bool,
    /// The CFA's distance, in bytes.
    pub(super) cfa: u16,
    /// How far below the CFA the frame pointer is saved, in bytes; 0 if it is unchanged.
    pub(super) fp_slot: u16,
}

impl CompactRule {
    const MARK: u16 = 1 << 15;
    const FROM_FP: u16 = 1 << 14;
    const WORD: u16 = 8;

    /// The rule that is its own id, if `id` is one.
    #[inline]
    pub(super) const fn from_id(id: RuleId) -> Option<Self> {
        let bits = id.0;
        if bits & Self::MARK == 0 {
            return None;
        }
        let (cfa, fp_slot) = ((bits >> 5 & 0x1ff) * Self::WORD, (bits & 0x1f) * Self::WORD);
        Some(Self { from_fp: bits & Self::FROM_FP != 0, cfa, fp_slot })
    }

    /// The id that is `rule` itself, if `rule` can be one.
    fn id_of<A: Architecture>(rule: Rule) -> Option<RuleId> {
        let Rule::Frame { cfa, return_address: _, frame_pointer } = rule else { return None };
        let words = |bytes: i32, most: u16| {
            u16::try_from(bytes).ok().map(|bytes| bytes / Self::WORD).filter(|words| *words <= most)
        };
        let (base, cfa) = match cfa {
            Cfa::Sp(offset) => (0, words(offset, 0x1ff)?),
            Cfa::Fp(offset) => (Self::FROM_FP, words(offset, 0x1ff)?),
            Cfa::AtFp(_) => return None,
        };
        let fp_slot = match frame_pointer {
            Saved::Unchanged => 0,
            Saved::AtCfa(offset) => words(offset.checked_neg()?, 0x1f)?,
            Saved::AtFp(_) | Saved::Lost => return None,
        };
        let id = RuleId(Self::MARK | base | cfa << 5 | fp_slot);
        // What the bits do not say (odd offsets, another place of the return address) must not be lost.
        (Self::from_id(id)?.rule::<A>() == rule).then_some(id)
    }

    /// The same rule, spelled out.
    pub(super) fn rule<A: Architecture>(self) -> Rule {
        let Self { from_fp, cfa, fp_slot } = self;
        let below = |slot: u16| Saved::AtCfa(-i32::from(slot));
        Rule::Frame {
            cfa: if from_fp { Cfa::Fp(i32::from(cfa)) } else { Cfa::Sp(i32::from(cfa)) },
            return_address: A::return_slot(fp_slot).map_or(Saved::Unchanged, below),
            frame_pointer: if fp_slot == 0 { Saved::Unchanged } else { below(fp_slot) },
        }
    }
}

/// The distinct rules that are not compact. It only grows, so that ids stay valid in the tables that a later generation takes over.
#[derive(Clone, Debug)]
pub(super) struct RuleTable {
    rules: Vec<Rule>,
    ids: HashMap<Rule, RuleId>,
}

impl RuleTable {
    pub(super) fn new() -> Self {
        let mut table = Self { rules: Vec::new(), ids: HashMap::new() };
        let first = [table.numbered(Rule::NoCfi), table.numbered(Rule::Unsupported)];
        debug_assert_eq!(first, [RuleId::NO_CFI, RuleId::UNSUPPORTED]);
        table
    }

    /// The id of `rule`, a new one if need be.
    pub(super) fn id_of<A: Architecture>(&mut self, rule: Rule) -> RuleId {
        CompactRule::id_of::<A>(rule).unwrap_or_else(|| self.numbered(rule))
    }

    /// The number of `rule`. When all 32,768 are taken, a new rule is "unsupported": stacks through it end with that
    /// reason.
    fn numbered(&mut self, rule: Rule) -> RuleId {
        if let Some(id) = self.ids.get(&rule) {
            return *id;
        }
        let Some(number) = u16::try_from(self.rules.len()).ok().filter(|n| n & CompactRule::MARK == 0) else {
            return RuleId::UNSUPPORTED;
        };
        self.rules.push(rule);
        self.ids.insert(rule, RuleId(number));
        RuleId(number)
    }

    /// The rule numbered `id`; for one that is its own id see [`CompactRule::from_id`]. Called in the signal handler:
    /// one load, no panic.
    #[inline]
    pub(super) fn get(&self, id: RuleId) -> Rule {
        self.rules.get(usize::from(id.0)).copied().unwrap_or(Rule::NoCfi)
    }

    pub(super) fn len(&self) -> usize {
        self.rules.len()
    }
}

#[cfg(test)]
#[cfg(not(loom))] // whose build has no dev-dependencies
mod tests {
    use super::super::arch::{Aarch64, X86_64};
    use super::*;
    use proptest::prelude::*;

    fn frame(cfa: Cfa, return_address: Saved, frame_pointer: Saved) -> Rule {
        Rule::Frame { cfa, return_address, frame_pointer }
    }

    fn round_trip<A: Architecture>(table: &mut RuleTable, rule: Rule) -> Rule {
        let id = table.id_of::<A>(rule);
        assert_eq!(table.id_of::<A>(rule), id, "a known rule gets no second id");
        CompactRule::from_id(id).map_or_else(|| table.get(id), CompactRule::rule::<A>)
    }

    fn any_saved() -> impl Strategy<Value = Saved> {
        let offset = prop_oneof![-300_i32..300, any::<i32>(), Just(i32::MIN)];
        prop_oneof![
            Just(Saved::Unchanged),
            Just(Saved::AtCfa(-8)),
            offset.clone().prop_map(Saved::AtCfa),
            offset.prop_map(Saved::AtFp),
            Just(Saved::Lost)
        ]
    }

    fn any_cfa() -> impl Strategy<Value = Cfa> {
        let offset = prop_oneof![0_i32..5000, any::<i32>()];
        (offset, 0..3).prop_map(|(offset, kind)| match kind {
            0 => Cfa::Sp(offset),
            1 => Cfa::Fp(offset),
            _ => Cfa::AtFp(offset),
        })
    }

    proptest! {
        #[test]
        fn a_frame_comes_back_as_it_went_in(cfa in any_cfa(), ra in any_saved(), fp in any_saved()) {
            let mut table = RuleTable::new();
            let rule = frame(cfa, ra, fp);
            prop_assert_eq!(round_trip::<X86_64>(&mut table, rule), rule);
            prop_assert_eq!(round_trip::<Aarch64>(&mut table, rule), rule);
        }
    }

    #[test]
    fn every_other_rule_comes_back_as_it_went_in() {
        let mut table = RuleTable::new();
        let plt = Rule::Plt { pushed_at: 11 };
        for rule in [Rule::NoCfi, Rule::Unsupported, Rule::Outermost, plt, Rule::SignalFrame] {
            assert_eq!(round_trip::<X86_64>(&mut table, rule), rule);
        }
        assert_eq!(table.id_of::<X86_64>(Rule::NoCfi), RuleId::NO_CFI);
        assert_eq!(table.id_of::<X86_64>(Rule::Unsupported), RuleId::UNSUPPORTED);
    }

    #[test]
    fn the_common_frames_are_their_own_id() {
        let mut table = RuleTable::new();
        let ids = [
            table.id_of::<X86_64>(frame(Cfa::Sp(8), Saved::AtCfa(-8), Saved::Unchanged)),
            table.id_of::<X86_64>(frame(Cfa::Sp(4088), Saved::AtCfa(-8), Saved::AtCfa(-56))),
            table.id_of::<X86_64>(frame(Cfa::Fp(16), Saved::AtCfa(-8), Saved::AtCfa(-16))),
            table.id_of::<Aarch64>(frame(Cfa::Sp(0), Saved::Unchanged, Saved::Unchanged)),
            table.id_of::<Aarch64>(frame(Cfa::Sp(96), Saved::AtCfa(-88), Saved::AtCfa(-96))),
        ];
        assert!(ids.iter().all(|id| CompactRule::from_id(*id).is_some()), "{ids:?}");
        assert_eq!(table.len(), 2, "only the two that every table has");
    }

    #[test]
    fn a_full_table_answers_unsupported() {
        let mut table = RuleTable::new();
        let large = |n: i32| frame(Cfa::Sp(1 << 20 | n), Saved::AtCfa(-8), Saved::Unchanged);
        let last = (0..40_000).map(|n| table.id_of::<X86_64>(large(n))).last();
        assert_eq!(last, Some(RuleId::UNSUPPORTED));
        assert_eq!(table.len(), 1 << 15);
        assert_eq!(table.get(RuleId(0x7fff)), large((1 << 15) - 3));
    }
}
