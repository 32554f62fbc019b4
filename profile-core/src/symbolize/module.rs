//! What is known about one module: its files, symbol table and DWARF, and what failed.

use super::SymbolSource;
use super::dwarf::{DebugInfo, DwarfFrame, UnitIndex};
use super::elf::{Fault, SHT_SYMTAB};
use super::files::{Files, Opening, Which};
use super::image::{Image, Refusal};
use super::symtab::Symtab;
use crate::modules::{Module, ModuleId};
use hashbrown::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

/// The bounds that all modules share, and what was used of them.
#[derive(Debug)]
pub(super) struct Limits {
    /// What DWARF may take in all modules together, in bytes; 0 is never.
    pub(super) dwarf_budget: u64,
    /// Where separate debug files are.
    pub(super) debug_directory: PathBuf,
    pub(super) files_opened: u64,
    pub(super) symbol_tables_loaded: u64,
    pub(super) dwarf_loaded: u64,
    loads_in_batch: u32,
}

/// The symbols of one module.
#[derive(Default)]
pub(super) struct ModuleSymbols {
    files: Files,
    symtab: SymtabState,
    dwarf: DwarfState,
    best: Option<SymbolSource>,
    notes: Vec<String>,
}

#[derive(Default)]
enum SymtabState {
    #[default]
    Unknown,
    Loaded(Symtab, Which),
    Refused,
}

#[derive(Default)]
enum DwarfState {
    #[default]
    Unknown,
    /// Loaded for this batch.
    Open(Box<DebugInfo>, Which),
    /// Dropped; the index is what the next batch need not build again.
    Closed(Arc<UnitIndex>),
    Refused,
}

/// The memory of one symbol table: 5 million functions.
const LARGEST_SYMTAB: u64 = 64 << 20;
/// How many times the DWARF of some module is loaded in one batch: modules that do not fit into the budget together
/// take turns, and each turn reads the files anew.
const MOST_LOADS: u32 = 32;
/// Notes about one module; each kind of trouble gives one.
const MOST_NOTES: usize = 4;

impl Limits {
    pub(super) fn new(dwarf_budget: u64) -> Self {
        Self {
            dwarf_budget,
            debug_directory: PathBuf::from("/usr/lib/debug"),
            files_opened: 0,
            symbol_tables_loaded: 0,
            dwarf_loaded: 0,
            loads_in_batch: 0,
        }
    }

    pub(super) fn end_batch(&mut self) {
        self.loads_in_batch = 0;
    }
}

impl ModuleSymbols {
    /// Opens the module's files for this batch; false if they cannot be used.
    pub(super) fn open(&mut self, module: &Module, limits: &mut Limits) -> bool {
        if matches!(self.files, Files::Unknown | Files::Closed(_)) {
            limits.files_opened += 1;
        }
        match self.files.open(module, &limits.debug_directory) {
            Opening::Ready => true,
            Opening::Changed => {
                (self.symtab, self.dwarf) = (SymtabState::Unknown, DwarfState::Unknown);
                true
            }
            Opening::Refused(refusal) => {
                if let Some(refusal) = refusal.filter(|refusal| !matches!(refusal, Refusal::NoFile)) {
                    self.note(format!("{}: addresses only: {refusal}", module.path));
                }
                false
            }
        }
    }

    /// The linkage name of the function at `address` (of the file).
    pub(super) fn symbol(&mut self, module: &Module, address: u64, limits: &mut Limits) -> Option<Arc<str>> {
        if matches!(self.symtab, SymtabState::Unknown) {
            self.load_symtab(module, limits)?;
        }
        let SymtabState::Loaded(symtab, which) = &mut self.symtab else { return None };
        symtab.find(&*self.files.get()?.image(*which)?.source, address)
    }

    /// What DWARF says about `address` (of the file); nothing if there is none or it does not fit. `others` are the
    /// modules that share the budget.
    pub(super) fn dwarf_frames(
        &mut self,
        module: &Module,
        address: u64,
        limits: &mut Limits,
        others: &mut HashMap<ModuleId, Self>,
    ) -> Vec<DwarfFrame> {
        if !matches!(self.dwarf, DwarfState::Open(..)) && self.load_dwarf(module, limits, others).is_none() {
            return Vec::new();
        }
        let frames = match self.look_up(address, room(limits, others)) {
            // Perhaps only because the others hold so much.
            Err(Fault::TooLarge) => {
                others.values_mut().for_each(Self::close_dwarf);
                self.look_up(address, room(limits, others))
            }
            other => other,
        };
        frames.unwrap_or_else(|fault| {
            let why = match fault {
                Fault::TooLarge => "its tables do not fit into the budget".to_owned(),
                fault => fault.to_string(),
            };
            self.note(format!("{}: DWARF is left out in places: {why}", module.path));
            Vec::new()
        })
    }

    /// The best source so far.
    pub(super) fn source(&self) -> SymbolSource {
        self.best.unwrap_or(SymbolSource::AddressOnly)
    }

    /// What could not be done, and why.
    pub(super) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Closes files and drops DWARF.
    pub(super) fn end_batch(&mut self) {
        self.close_dwarf();
        self.files.close();
    }

    /// Drops what is kept from batch to batch; it is read again when needed.
    pub(super) fn drop_tables(&mut self) {
        if matches!(self.symtab, SymtabState::Loaded(..)) {
            self.symtab = SymtabState::Unknown;
        }
        if matches!(self.dwarf, DwarfState::Closed(_)) {
            self.dwarf = DwarfState::Unknown;
        }
    }

    /// In bytes.
    pub(super) fn symbol_table_memory(&self) -> u64 {
        match &self.symtab {
            SymtabState::Loaded(symtab, _) => symtab.memory(),
            SymtabState::Unknown | SymtabState::Refused => 0,
        }
    }

    /// In bytes.
    pub(super) fn dwarf_memory(&self) -> u64 {
        match &self.dwarf {
            DwarfState::Open(info, _) => info.memory(),
            DwarfState::Closed(index) => index.memory(),
            DwarfState::Unknown | DwarfState::Refused => 0,
        }
    }

    fn load_symtab(&mut self, module: &Module, limits: &mut Limits) -> Option<()> {
        let files = self.files.get()?;
        let which = files.find(|image| image.elf.linked(SHT_SYMTAB).is_some());
        let image = files.image(which.unwrap_or(Which::Main))?;
        limits.symbol_tables_loaded += 1;
        match Symtab::load(&*image.source, &image.elf, LARGEST_SYMTAB) {
            Ok(symtab) => {
                self.symtab = SymtabState::Loaded(symtab, which.unwrap_or(Which::Main));
                self.best = self.best.max(Some(SymbolSource::SymbolTable));
                Some(())
            }
            Err(fault) => {
                self.symtab = SymtabState::Refused;
                self.note(format!("{}: no symbol table: {fault}", module.path));
                None
            }
        }
    }

    fn load_dwarf(
        &mut self,
        module: &Module,
        limits: &mut Limits,
        others: &mut HashMap<ModuleId, Self>,
    ) -> Option<()> {
        let index = match &self.dwarf {
            DwarfState::Unknown => None,
            DwarfState::Closed(index) => Some(Arc::clone(index)),
            DwarfState::Open(..) => return Some(()),
            DwarfState::Refused => return None,
        };
        let files = self.files.get()?;
        let which = files.find(|image| DebugInfo::needs(image).is_some());
        let Some(which) = which.filter(|_| limits.dwarf_budget > 0) else {
            self.dwarf = DwarfState::Refused;
            return None;
        };
        if limits.loads_in_batch >= MOST_LOADS {
            self.note(format!(
                "{}: DWARF is left out in places: too little memory for all modules",
                module.path
            ));
            return None;
        }
        let image = files.image(which)?;
        match load_within(image, index, limits, others) {
            Ok(info) => {
                self.dwarf = DwarfState::Open(Box::new(info), which);
                self.best = Some(SymbolSource::Dwarf);
                Some(())
            }
            Err(why) => {
                self.dwarf = DwarfState::Refused;
                self.note(format!("{}: symbol table only: {why}", module.path));
                None
            }
        }
    }

    fn look_up(&mut self, address: u64, room: u64) -> Result<Vec<DwarfFrame>, Fault> {
        let DwarfState::Open(info, which) = &mut self.dwarf else { return Ok(Vec::new()) };
        let image = self.files.get().and_then(|files| files.image(*which)).ok_or(Fault::Absent)?;
        info.frames(image, address, room)
    }

    fn close_dwarf(&mut self) {
        if let DwarfState::Open(info, _) = &self.dwarf {
            self.dwarf = DwarfState::Closed(Arc::clone(info.index()));
        }
    }

    fn note(&mut self, note: String) {
        if self.notes.len() < MOST_NOTES && !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

/// What the budget leaves for one module beside `others`, in bytes.
fn room(limits: &Limits, others: &HashMap<ModuleId, ModuleSymbols>) -> u64 {
    limits.dwarf_budget.saturating_sub(others.values().map(ModuleSymbols::dwarf_memory).sum())
}

/// Loads DWARF if the budget allows it at all, making the others give way if need be.
fn load_within(
    image: &Image,
    index: Option<Arc<UnitIndex>>,
    limits: &mut Limits,
    others: &mut HashMap<ModuleId, ModuleSymbols>,
) -> Result<DebugInfo, String> {
    let needs = DebugInfo::needs(image).unwrap_or(Err(Fault::Absent));
    let needs = needs.map_err(|fault| format!("its DWARF cannot be used: {fault}"))?;
    let budget = mebibytes(limits.dwarf_budget);
    if needs > limits.dwarf_budget {
        return Err(format!("its DWARF needs {} MiB, over the budget of {budget} MiB", mebibytes(needs)));
    }
    // Half for the sections, half for the tables made of them.
    if needs > room(limits, others) / 2 {
        others.values_mut().for_each(ModuleSymbols::close_dwarf);
    }
    let info = DebugInfo::load(image, index, room(limits, others)).map_err(|fault| match fault {
        Fault::TooLarge => format!("its DWARF needs more than the budget of {budget} MiB"),
        fault => format!("its DWARF cannot be used: {fault}"),
    })?;
    limits.loads_in_batch += 1;
    limits.dwarf_loaded += 1;
    Ok(info)
}

/// With one decimal, so that small sizes do not show as 0.
fn mebibytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}
