//! What one instruction needs to find its caller, and the table of distinct rules.
//!
//! Rows and cache do not hold rules but 16-bit ids of them. Rules repeat: a program of 8 MB has 233,000 rows and some
//! 650 distinct rules, a few KB that stay in the first-level cache. So a rule can say everything it must (no offset is
//! too large for a bit field, and none is silently cut), a row fits in 4 bytes, and a cache entry has room for the
//! whole 48-bit address beside the id, which makes a false hit impossible.

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

/// Names a rule in a [`RuleTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct RuleId(pub(super) u16);

impl RuleId {
    pub(super) const NO_CFI: Self = Self(0);
    pub(super) const UNSUPPORTED: Self = Self(1);
}

/// The distinct rules. It only grows, so that ids stay valid in the tables that a later generation takes over.
#[derive(Clone, Debug)]
pub(super) struct RuleTable {
    rules: Vec<Rule>,
    ids: HashMap<Rule, RuleId>,
}

impl RuleTable {
    pub(super) fn new() -> Self {
        let mut table = Self { rules: Vec::new(), ids: HashMap::new() };
        let first = [table.id_of(Rule::NoCfi), table.id_of(Rule::Unsupported)];
        debug_assert_eq!(first, [RuleId::NO_CFI, RuleId::UNSUPPORTED]);
        table
    }

    /// The id of `rule`, a new one if need be. When all 65,536 ids are taken, a new rule is "unsupported": stacks
    /// through it end with that reason.
    pub(super) fn id_of(&mut self, rule: Rule) -> RuleId {
        if let Some(id) = self.ids.get(&rule) {
            return *id;
        }
        let Ok(id) = u16::try_from(self.rules.len()) else {
            return RuleId::UNSUPPORTED;
        };
        self.rules.push(rule);
        self.ids.insert(rule, RuleId(id));
        RuleId(id)
    }

    /// The rule named `id`. Called in the signal handler: one load, no panic.
    #[inline]
    pub(super) fn get(&self, id: RuleId) -> Rule {
        self.rules.get(usize::from(id.0)).copied().unwrap_or(Rule::NoCfi)
    }

    pub(super) fn len(&self) -> usize {
        self.rules.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(offset: i32) -> Rule {
        Rule::Frame {
            cfa: Cfa::Sp(offset),
            return_address: Saved::AtCfa(-8),
            frame_pointer: Saved::Unchanged,
        }
    }

    #[test]
    fn every_rule_comes_back_as_it_went_in() {
        let mut table = RuleTable::new();
        let rules = [
            Rule::NoCfi,
            Rule::Unsupported,
            Rule::Outermost,
            Rule::Plt { pushed_at: 11 },
            Rule::SignalFrame,
            frame(8),
            frame(i32::MAX),
            frame(i32::MIN),
            Rule::Frame {
                cfa: Cfa::AtFp(-8),
                return_address: Saved::AtCfa(-8),
                frame_pointer: Saved::AtFp(0),
            },
        ];
        let ids = rules.map(|rule| table.id_of(rule));
        assert_eq!(ids.map(|id| table.get(id)), rules);
        assert_eq!(rules.map(|rule| table.id_of(rule)), ids, "a known rule gets no second id");
    }

    #[test]
    fn a_full_table_answers_unsupported() {
        let mut table = RuleTable::new();
        let last = (0..70_000).map(|offset| table.id_of(frame(offset))).last();
        assert_eq!(last, Some(RuleId::UNSUPPORTED));
        assert_eq!(table.len(), 1 << 16);
        assert_eq!(table.get(RuleId(u16::MAX)), frame((1 << 16) - 3));
    }
}
