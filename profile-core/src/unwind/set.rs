//! The tables of all modules at one moment: what a handler walks with.
//!
//! A set is immutable but for its cache. The next generation of the module list gets a new set, which shares the tables
//! of the modules that stayed: only new ones are compiled. Rules are shared by all tables of a set and keep their ids
//! from set to set.

use super::arch::Native;
use super::cache::RuleCache;
use super::compile::{self, Compiled};
use super::eh_frame::EhFrame;
use super::rule::{RuleId, RuleTable};
use super::table::ModuleTable;
use crate::modules::{Module, ModuleId, ModuleList};
use std::ops::Range;
use std::sync::Arc;

/// The unwind tables of one generation of the [`ModuleList`].
#[derive(Debug)]
pub struct UnwindTables {
    generation: u32,
    /// In order of address; texts do not overlap.
    modules: Box<[ModuleEntry]>,
    rules: RuleTable,
    cache: RuleCache,
}

#[derive(Clone, Debug)]
struct ModuleEntry {
    text: Range<u64>,
    id: ModuleId,
    table: Arc<ModuleTable>,
    stats: TableStats,
}

/// What was compiled, summed over the modules of a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableStats {
    /// Functions with call frame information.
    pub functions: u64,
    /// Rows of the tables.
    pub rows: u64,
    /// Memory of the tables, in bytes.
    pub bytes: u64,
    /// FDEs that were malformed, wholly or in part.
    pub malformed: u64,
    /// Rows that the unwinder cannot follow.
    pub unsupported: u64,
    /// Modules without call frame information.
    pub bare_modules: u64,
    /// Distinct rules.
    pub rules: u64,
}

impl UnwindTables {
    /// Compiles the tables for `list`, taking over from `previous` those of the modules that stayed.
    ///
    /// For a background thread: some 3 ms per MB of machine code.
    #[must_use]
    pub fn compile(list: &ModuleList, previous: Option<&Self>) -> Self {
        let mut rules = previous.map_or_else(RuleTable::new, |previous| previous.rules.clone());
        let entry = |module: &Arc<Module>| {
            let known = previous.and_then(|previous| previous.entry_of(module.id));
            known.cloned().unwrap_or_else(|| ModuleEntry::compile(module, &mut rules))
        };
        let modules = list.modules.iter().map(entry).collect();
        Self { generation: list.generation, modules, rules, cache: RuleCache::new() }
    }

    /// The generation of the module list that the tables belong to.
    #[must_use]
    #[inline]
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    /// What was compiled.
    #[must_use]
    pub fn stats(&self) -> TableStats {
        let mut sum = TableStats { rules: self.rules.len() as u64, ..TableStats::default() };
        for TableStats { functions, rows, bytes, malformed, unsupported, bare_modules, rules: _ } in
            self.modules.iter().map(|entry| entry.stats)
        {
            sum.functions += functions;
            sum.rows += rows;
            sum.bytes += bytes;
            sum.malformed += malformed;
            sum.unsupported += unsupported;
            sum.bare_modules += bare_modules;
        }
        sum
    }

    /// The id of the rule of the instruction at `address`. For the signal handler.
    #[inline]
    pub(super) fn rule_at(&self, address: u64) -> RuleId {
        self.cache.get_or(address, || self.lookup(address))
    }

    /// What the ids mean.
    #[inline]
    pub(super) const fn rules(&self) -> &RuleTable {
        &self.rules
    }

    fn lookup(&self, address: u64) -> RuleId {
        let after = self.modules.partition_point(|entry| entry.text.start <= address);
        let entry = after.checked_sub(1).and_then(|index| self.modules.get(index));
        match entry {
            Some(entry) if address < entry.text.end => entry.table.lookup(address),
            _ => RuleId::NO_CFI,
        }
    }

    fn entry_of(&self, id: ModuleId) -> Option<&ModuleEntry> {
        self.modules.iter().find(|entry| entry.id == id)
    }
}

impl ModuleEntry {
    fn compile(module: &Module, rules: &mut RuleTable) -> Self {
        let (section, bare) = match EhFrame::copy(module) {
            Some(section) => (section, false),
            None => (EhFrame::default(), true),
        };
        let compiled =
            compile::compile::<Native>(&section.bytes, section.address, module.text.clone(), rules);
        let table = ModuleTable::new(module.text.start, &compiled.rows);
        let Compiled { functions, malformed, unsupported, .. } = compiled;
        let stats = TableStats {
            functions: u64::from(functions),
            rows: table.rows() as u64,
            bytes: table.bytes() as u64,
            malformed: u64::from(malformed),
            unsupported: u64::from(unsupported),
            bare_modules: u64::from(bare),
            rules: 0,
        };
        Self { text: module.text.clone(), id: module.id, table: Arc::new(table), stats }
    }
}
