//! The symbolizer for this process's own modules: which source serves a module, and for how long.
//!
//! A module goes through the same steps for each batch: its file is opened and proven when the first unknown address
//! asks for it, the symbol table is read once and kept, DWARF is loaded within the budget and dropped with the open
//! files at the end of the batch. What failed is remembered for the life of the module, so that a missing file costs
//! one attempt.

use super::cache::Cache;
use super::dwarf::DwarfFrame;
use super::module::{Limits, ModuleSymbols};
use super::{SourceFrame, SymbolSource, Symbolizer};
use crate::modules::{Module, ModuleId, ModuleList};
use hashbrown::{HashMap, HashSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Resolves addresses of this process from the files of its modules.
///
/// Without DWARF it keeps 12 bytes for each function of the modules that were asked for, and the frames of the
/// addresses that were seen. With DWARF it takes up to its budget during a batch.
pub struct NativeSymbolizer {
    cache: Cache,
    modules: HashMap<ModuleId, ModuleSymbols>,
    limits: Limits,
    hits: u64,
    misses: u64,
    forgotten_modules: u64,
}

/// What a symbolizer has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SymbolizerStats {
    /// Addresses answered from the cache.
    pub hits: u64,
    /// Addresses that were looked up.
    pub misses: u64,
    /// Addresses in the cache now.
    pub cached_addresses: u64,
    /// How often the cache was full and everything in it was forgotten.
    pub cache_clears: u64,
    /// Files that were opened, or tried to be.
    pub files_opened: u64,
    /// Symbol tables that were read.
    pub symbol_tables_loaded: u64,
    /// How often the DWARF of a module was loaded.
    pub dwarf_loaded: u64,
    /// Bytes in use now for symbol tables.
    pub symbol_table_memory: u64,
    /// Bytes in use now for DWARF; 0 between batches, but for a small index.
    pub dwarf_memory: u64,
}

/// Modules that are known at once; a process with more has lost its `retain_modules`.
const MOST_MODULES: usize = 4096;
/// What tables may take from batch to batch, all modules together, in bytes: over it they are read again each time.
const MOST_KEPT: u64 = 4 << 20;
/// Notes that are listed.
const MOST_NOTES: usize = 64;
/// What a frame without a name is called.
const UNKNOWN: &str = "[unknown]";

impl NativeSymbolizer {
    /// The default memory for DWARF: 64 MiB.
    pub const DEFAULT_DWARF_BUDGET: u64 = 64 << 20;
    /// The default number of addresses that are kept.
    pub const DEFAULT_CACHE_CAPACITY: usize = 65_536;

    /// A symbolizer with default bounds.
    #[must_use]
    pub fn new() -> Self {
        Self {
            cache: Cache::new(Self::DEFAULT_CACHE_CAPACITY),
            modules: HashMap::new(),
            limits: Limits::new(Self::DEFAULT_DWARF_BUDGET),
            hits: 0,
            misses: 0,
            forgotten_modules: 0,
        }
    }

    /// Sets how many bytes of memory DWARF may take, all modules together; a module that needs more is resolved by
    /// its symbol table. 0 never reads DWARF.
    #[must_use]
    pub fn with_dwarf_budget(mut self, bytes: u64) -> Self {
        self.limits.dwarf_budget = bytes;
        self
    }

    /// Sets how many addresses are kept, at least 1. One more, and all are forgotten.
    #[must_use]
    pub fn with_cache_capacity(mut self, addresses: usize) -> Self {
        self.cache = Cache::new(addresses);
        self
    }

    /// Sets where separate debug files are; `/usr/lib/debug` by default.
    #[must_use]
    pub fn with_debug_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.limits.debug_directory = directory.into();
        self
    }

    /// What has been done so far.
    #[must_use]
    pub fn stats(&self) -> SymbolizerStats {
        SymbolizerStats {
            hits: self.hits,
            misses: self.misses,
            cached_addresses: self.cache.addresses() as u64,
            cache_clears: self.cache.clears(),
            files_opened: self.limits.files_opened,
            symbol_tables_loaded: self.limits.symbol_tables_loaded,
            dwarf_loaded: self.limits.dwarf_loaded,
            symbol_table_memory: self.modules.values().map(ModuleSymbols::symbol_table_memory).sum(),
            dwarf_memory: self.modules.values().map(ModuleSymbols::dwarf_memory).sum(),
        }
    }

    fn resolve(&mut self, module: &Module, address: u64) -> Box<[SourceFrame]> {
        if self.modules.len() >= MOST_MODULES && !self.modules.contains_key(&module.id) {
            self.forgotten_modules += self.modules.len() as u64;
            self.modules.clear();
        }
        // Taken out while it is used, since modules share a budget and one may need room that the others take.
        let mut symbols = self.modules.remove(&module.id).unwrap_or_default();
        let (mut symbol, mut frames) = (None, Vec::new());
        if symbols.open(module, &mut self.limits) {
            symbol = symbols.symbol(module, address, &mut self.limits);
            frames = symbols.dwarf_frames(module, address, &mut self.limits, &mut self.modules);
        }
        self.modules.insert(module.id, symbols);
        if frames.is_empty() && symbol.is_some() {
            frames.push(DwarfFrame::default());
        }
        // The physical function, the last frame, is called what the symbol table calls it: DWARF may know only its
        // short name, or a name internal to a library (`__GI___libc_write`). So a function has one name, whether
        // DWARF covers all of it or not.
        if let (Some(physical), Some(name)) = (frames.last_mut(), symbol) {
            physical.names.linkage_name = Some(name);
        }
        frames.into_iter().map(|frame| self.source_frame(frame)).collect()
    }

    fn source_frame(&mut self, frame: DwarfFrame) -> SourceFrame {
        let DwarfFrame { names, file, line, column } = frame;
        let (system_name, function) = match names.linkage_name {
            Some(linkage_name) => {
                let (linkage_name, function) = self.cache.intern_function(&linkage_name);
                (Some(linkage_name), function)
            }
            None => (None, self.cache.intern(names.name.as_deref().unwrap_or(UNKNOWN))),
        };
        let file = file.map(|file| self.cache.intern(&file));
        SourceFrame { function, system_name, file, line, column, start_line: names.start_line }
    }
}

impl Symbolizer for NativeSymbolizer {
    fn symbolize(&mut self, module: &Arc<Module>, address: u64) -> &[SourceFrame] {
        let address = address.wrapping_sub(module.bias);
        if let Some(place) = self.cache.find(module.id, address) {
            self.hits += 1;
            return self.cache.frames(place);
        }
        self.misses += 1;
        let frames = self.resolve(module, address);
        let place = self.cache.insert(module.id, address, frames);
        self.cache.frames(place)
    }

    fn source(&self, module: &Module) -> SymbolSource {
        self.modules.get(&module.id).map_or(SymbolSource::AddressOnly, ModuleSymbols::source)
    }

    fn end_batch(&mut self) {
        self.modules.values_mut().for_each(ModuleSymbols::end_batch);
        self.limits.end_batch();
        let kept = |symbols: &ModuleSymbols| symbols.symbol_table_memory() + symbols.dwarf_memory();
        if self.modules.values().map(kept).sum::<u64>() > MOST_KEPT {
            self.modules.values_mut().for_each(ModuleSymbols::drop_tables);
        }
    }

    fn retain_modules(&mut self, live: &ModuleList) {
        let ids: HashSet<ModuleId> = live.modules.iter().map(|module| module.id).collect();
        self.modules.retain(|id, _| ids.contains(id));
        self.cache.retain(|id| ids.contains(&id));
    }

    fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> =
            self.modules.values().flat_map(|symbols| symbols.notes().iter().cloned()).collect();
        notes.sort_unstable();
        notes.dedup();
        let more = notes.len().saturating_sub(MOST_NOTES);
        notes.truncate(MOST_NOTES);
        if more > 0 {
            notes.push(format!("{more} more modules are not resolved as well as they could be"));
        }
        if self.cache.clears() > 0 {
            notes.push(format!("the symbol cache was full and cleared {} times", self.cache.clears()));
        }
        if self.forgotten_modules > 0 {
            notes.push(format!(
                "the symbols of {} modules were forgotten: too many modules",
                self.forgotten_modules
            ));
        }
        notes
    }
}

impl fmt::Debug for NativeSymbolizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limits, modules, .. } = self;
        let (stats, modules) = (self.stats(), modules.len());
        f.debug_struct("NativeSymbolizer")
            .field("stats", &stats)
            .field("modules", &modules)
            .field("limits", limits)
            .finish_non_exhaustive()
    }
}

impl Default for NativeSymbolizer {
    fn default() -> Self {
        Self::new()
    }
}
