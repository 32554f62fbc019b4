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
        drop(section); // some MB in a large module
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::unwind::loaded_modules;
    use std::time::Instant;

    #[test]
    fn every_module_of_this_process_compiles() {
        let list = loaded_modules(&ModuleList::default());
        let begun = Instant::now();
        let tables = UnwindTables::compile(&list, None);
        let elapsed = begun.elapsed();
        for (module, entry) in list.modules.iter().zip(&tables.modules) {
            let text = (module.text.end - module.text.start) >> 10;
            eprintln!("{} ({text} KB): {:?}", module.path, entry.stats);
            assert_eq!((entry.id, &entry.text), (module.id, &module.text));
            assert!(entry.stats.functions > 0 && entry.stats.malformed == 0, "{}", module.path);
            assert!(entry.stats.unsupported * 50 < entry.stats.rows, "{}: {:?}", module.path, entry.stats);
        }
        let stats = tables.stats();
        eprintln!("in {elapsed:?}: {stats:?}");
        assert!(stats.rules < 1000, "distinct rules: {}", stats.rules);
        assert!(stats.bytes < stats.rows * 4 + (list_bytes(&list) >> 6) + 4096, "{stats:?}");
        assert_eq!((stats.bare_modules, tables.generation()), (0, list.generation));
    }

    fn list_bytes(list: &ModuleList) -> u64 {
        list.modules.iter().map(|module| module.text.end - module.text.start).sum()
    }

    /// The table of this very program, asked at and around every row, against a binary search over the rows.
    #[test]
    fn lookup_is_a_search_in_the_rows_of_a_real_program() {
        let list = loaded_modules(&ModuleList::default());
        let own = list.find(lookup_is_a_search_in_the_rows_of_a_real_program as *const () as u64).unwrap();
        let section = EhFrame::copy(own).unwrap();
        let mut rules = RuleTable::new();
        let rows =
            compile::compile::<Native>(&section.bytes, section.address, own.text.clone(), &mut rules).rows;
        let table = ModuleTable::new(own.text.start, &rows);
        assert!(rows.len() > 5000);
        for row in &rows {
            for offset in [row.offset.wrapping_sub(1), row.offset, row.offset + 1, row.offset + 255] {
                let after = rows.partition_point(|row| row.offset <= offset);
                let expected = after.checked_sub(1).map_or(RuleId::NO_CFI, |index| rows[index].rule);
                assert_eq!(table.lookup(own.text.start + u64::from(offset)), expected, "at {offset:#x}");
            }
        }
    }

    #[test]
    fn a_later_generation_shares_the_tables_of_the_modules_that_stayed() {
        let list = loaded_modules(&ModuleList::default());
        let first = UnwindTables::compile(&list, None);
        let mut fewer = list.clone();
        let gone = fewer.modules.remove(0);
        fewer.generation += 1;
        let second = UnwindTables::compile(&fewer, Some(&first));
        assert_eq!(second.generation(), list.generation + 1);
        for entry in &second.modules {
            assert!(Arc::ptr_eq(&entry.table, &first.entry_of(entry.id).unwrap().table));
        }
        assert_eq!(second.rule_at(gone.text.start + 100), RuleId::NO_CFI, "code that is gone");
        let third = UnwindTables::compile(&list, Some(&second));
        let (before, after) = (first.entry_of(gone.id).unwrap(), third.entry_of(gone.id).unwrap());
        assert!(!Arc::ptr_eq(&before.table, &after.table));
        assert_eq!(before.stats, after.stats, "compiled anew, with the same ids");
    }

    #[test]
    fn code_outside_every_module_has_no_cfi() {
        let list = loaded_modules(&ModuleList::default());
        let tables = UnwindTables::compile(&list, None);
        let edges = list.modules.iter().flat_map(|module| [module.text.start - 1, module.text.end]);
        for address in edges.chain([0, 1, 1 << 47, u64::MAX]) {
            if list.find(address).is_none() {
                assert_eq!(tables.rule_at(address), RuleId::NO_CFI, "{address:#x}");
            }
        }
    }
}
