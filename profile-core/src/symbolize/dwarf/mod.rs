//! Inlined frames, files and lines from DWARF, in bounded memory.
//!
//! ```text
//!   address ──► index ──► unit ──► functions ──► chain of inlined calls ─┐
//!             (ranges of    │     (ranges of one                         ├─► frames, innermost first
//!              all units)   │      unit)                                 │
//!                           └────► lines (rows of one unit) ─────────────┘
//! ```
//!
//! Why not the crate `addr2line`, which does the same over the same parser: it descends into inlined calls by
//! recursion and grows its tables as the data says. One flipped bit in a file (an abbreviation that claims children)
//! nests thousands of calls and overflows the stack of the process we are a guest in; a large program takes hundreds
//! of MB. Here nothing recurses, and all memory comes out of one budget: the sections first, then the tables of the
//! units that were asked for, which are forgotten when the budget is used up. `addr2line` is the oracle of the tests.
//!
//! The strings, a third of the debug information of a Rust program, stay in the file; only those of frames that are
//! shown are read. The format: DWARF versions 2 to 5, <https://dwarfstd.org>. Split DWARF (`.dwo`) is not followed.

mod functions;
mod index;
mod lines;
mod sections;

pub(super) use index::UnitIndex;

use self::functions::{Die, FunctionTable, InlinedCall};
use self::lines::{LineTable, Row};
use self::sections::{R, Sections};
use super::elf::Fault;
use super::image::Image;
use gimli::{AttributeValue, DebugInfoOffset, Unit, UnitOffset};
use hashbrown::HashMap;
use std::sync::Arc;

/// The debug information of one image, open for a batch of lookups.
pub(super) struct DebugInfo {
    sections: Sections,
    index: Arc<UnitIndex>,
    tables: Tables,
    /// How often `tables` were forgotten for want of room.
    clears: u32,
}

/// What was read of the units asked for in this batch.
#[derive(Default)]
struct Tables {
    /// By the unit's place in `.debug_info`.
    units: HashMap<usize, UnitTables>,
    /// The names of functions that others refer to, by the places of unit and entry. One function is inlined at many
    /// addresses.
    names: HashMap<(usize, usize), Names>,
    /// Paths, by the unit's place and the number of the file in it.
    files: HashMap<(usize, u32), Option<Arc<str>>>,
    /// What they all take, in bytes.
    memory: u64,
}

/// What a function is called. It has a linkage name, a plain name, or neither.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// The name the linker knows.
    pub(super) linkage_name: Option<Arc<str>>,
    /// The name in the source, without its module or namespace.
    pub(super) name: Option<Arc<str>>,
    /// The first line of the function; 0 is unknown.
    pub(super) start_line: u32,
}

/// What DWARF says about one frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct DwarfFrame {
    /// The function.
    pub(super) names: Names,
    /// The file.
    pub(super) file: Option<Arc<str>>,
    /// 0 is unknown.
    pub(super) line: u32,
    /// 0 is unknown.
    pub(super) column: u32,
}

struct UnitTables {
    unit: Arc<Unit<R>>,
    functions: Option<Arc<FunctionTable>>,
    lines: Option<Arc<LineTable>>,
}

/// A unit that is being read.
#[derive(Clone)]
struct OpenUnit {
    /// Where it starts in `.debug_info`.
    at: usize,
    unit: Arc<Unit<R>>,
}

/// What stays the same during one lookup.
#[derive(Clone, Copy)]
struct Lookup<'a> {
    image: &'a Image,
    address: u64,
    /// What the tables of the units may take together, in bytes.
    limit: u64,
}

/// References between entries that are followed for a name.
const MOST_HOPS: usize = 8;
/// Units that claim one address.
const MOST_UNITS: usize = 8;
/// How often in one batch the tables are forgotten and built anew, which takes some milliseconds each time.
const MOST_CLEARS: u32 = 128;
/// About what the headers of a unit take; most of it is the list of its files.
const UNIT_MEMORY: u64 = 1 << 10;
const FILE_MEMORY: u64 = 256;
/// About what one more string takes beside its text.
const TEXT_MEMORY: u64 = 64;

impl DebugInfo {
    /// How many bytes of memory the sections of `image` take, if it has debug information.
    pub(super) fn needs(image: &Image) -> Option<Result<u64, Fault>> {
        Sections::needs(image)
    }

    /// Loads the sections of `image`, and the index of its units if it is not at hand from an earlier batch. `limit`
    /// is the memory to stay below, in bytes.
    pub(super) fn load(image: &Image, index: Option<Arc<UnitIndex>>, limit: u64) -> Result<Self, Fault> {
        let sections = Sections::load(image, limit)?;
        let index = match index {
            Some(index) => index,
            None => Arc::new(UnitIndex::build(&sections, &image.elf, limit.saturating_sub(sections.memory))?),
        };
        Ok(Self { sections, index, tables: Tables::default(), clears: 0 })
    }

    /// The index of the units, for the next batch.
    pub(super) fn index(&self) -> &Arc<UnitIndex> {
        &self.index
    }

    /// The memory in use, in bytes.
    pub(super) fn memory(&self) -> u64 {
        self.sections.memory + self.index.memory() + self.tables.memory
    }

    /// The frames of `address` (of the file), innermost first; the last one is the physical function, and may be all
    /// but empty. None at all if the debug information does not cover the address. `image` is what it was loaded
    /// from; `limit` is the memory to stay below, in bytes.
    pub(super) fn frames(
        &mut self,
        image: &Image,
        address: u64,
        limit: u64,
    ) -> Result<Vec<DwarfFrame>, Fault> {
        let limit = limit.saturating_sub(self.sections.memory + self.index.memory());
        let lookup = Lookup { image, address, limit };
        let candidates: Vec<usize> = self.index.find(address).take(MOST_UNITS).collect();
        for unit in candidates {
            let frames = match self.frames_in(unit, lookup) {
                // The tables of other units left too little room: forget them and try once more.
                Err(Fault::TooLarge) if self.tables.memory > 0 && self.clears < MOST_CLEARS => {
                    self.tables = Tables::default();
                    self.clears += 1;
                    self.frames_in(unit, lookup)?
                }
                other => other?,
            };
            if !frames.is_empty() {
                return Ok(frames);
            }
        }
        Ok(Vec::new())
    }

    fn frames_in(&mut self, at: usize, lookup: Lookup<'_>) -> Result<Vec<DwarfFrame>, Fault> {
        let unit = self.unit(at, lookup.limit)?;
        let functions = self.functions(&unit, lookup)?;
        let row = self.lines(&unit, lookup)?.find(lookup.address);
        let mut place = row.unwrap_or_default();
        let Some(function) = functions.find(lookup.address) else {
            let frame = row.map(|row| self.frame(lookup, &unit, Names::default(), row));
            return Ok(frame.into_iter().collect());
        };
        let (physical, calls) = functions::chain(&self.sections.dwarf, &unit.unit, function, lookup.address)?;
        let mut frames = Vec::with_capacity(calls.len() + 1);
        for InlinedCall { function, place: call } in calls.into_iter().rev() {
            let names = self.names(lookup, &unit, function)?;
            frames.push(self.frame(lookup, &unit, names, std::mem::replace(&mut place, call)));
        }
        let names = self.names(lookup, &unit, physical)?;
        frames.push(self.frame(lookup, &unit, names, place));
        Ok(frames)
    }

    fn frame(&mut self, lookup: Lookup<'_>, unit: &OpenUnit, names: Names, place: Row) -> DwarfFrame {
        let key = (unit.at, place.file);
        let file = match self.tables.files.get(&key) {
            Some(file) => file.clone(),
            None => {
                let path = self.sections.path(lookup.image, &unit.unit, place.file).map(Arc::<str>::from);
                let size = TEXT_MEMORY + path.as_ref().map_or(0, |path| path.len() as u64);
                if self.tables.charge(size, lookup.limit).is_ok() {
                    self.tables.files.insert(key, path.clone());
                }
                path
            }
        };
        DwarfFrame { names, file, line: place.line, column: place.column }
    }

    /// The names of the function in `die`, from there or from the entry it refers to.
    fn names(&mut self, lookup: Lookup<'_>, unit: &OpenUnit, die: Die) -> Result<Names, Fault> {
        let mut names = self.own_names(lookup, unit, &die);
        let origin = die.origin.filter(|_| !names.complete()).and_then(|origin| self.follow(unit, &origin));
        let Some(origin) = origin else { return Ok(names) };
        names.complete_with(match self.tables.names.get(&(origin.0, origin.1.0)) {
            Some(known) => known.clone(),
            None => self.names_at(lookup, origin)?,
        });
        Ok(names)
    }

    /// The names of the entry at `place`, following its references. One that leads nowhere costs the name, not the
    /// frame; too little room is an error, so that the name is not lost for ever.
    fn names_at(&mut self, lookup: Lookup<'_>, place: (usize, UnitOffset)) -> Result<Names, Fault> {
        let mut names = Names::default();
        let mut next = Some(place);
        for _ in 0..MOST_HOPS {
            let Some((at, entry)) = next else { break };
            let unit = match self.unit(at, lookup.limit) {
                Err(Fault::TooLarge) => return Err(Fault::TooLarge),
                Err(_) => break,
                Ok(unit) => unit,
            };
            let Ok(die) = functions::read_entry(&self.sections.dwarf, &unit.unit, entry) else { break };
            names.complete_with(self.own_names(lookup, &unit, &die));
            next = die.origin.filter(|_| !names.complete()).and_then(|origin| self.follow(&unit, &origin));
        }
        if self.tables.charge(TEXT_MEMORY + names.len(), lookup.limit).is_ok() {
            self.tables.names.insert((place.0, place.1.0), names.clone());
        }
        Ok(names)
    }

    fn own_names(&self, lookup: Lookup<'_>, unit: &OpenUnit, die: &Die) -> Names {
        let text = |value: &Option<_>| self.sections.text(lookup.image, &unit.unit, value.as_ref()?);
        Names {
            linkage_name: text(&die.linkage_name).map(Arc::from),
            name: text(&die.name).map(Arc::from),
            start_line: die.line,
        }
    }

    /// The unit and the offset in it that `reference` points to.
    fn follow(&self, from: &OpenUnit, reference: &AttributeValue<R>) -> Option<(usize, UnitOffset)> {
        match *reference {
            AttributeValue::UnitRef(offset) => Some((from.at, offset)),
            AttributeValue::DebugInfoRef(target) => {
                let at = self.index.containing(target.0)?;
                Some((at, UnitOffset(target.0.checked_sub(at)?)))
            }
            _ => None,
        }
    }

    fn unit(&mut self, at: usize, limit: u64) -> Result<OpenUnit, Fault> {
        if let Some(tables) = self.tables.units.get(&at) {
            return Ok(OpenUnit { at, unit: Arc::clone(&tables.unit) });
        }
        let header = self.sections.dwarf.debug_info.header_from_offset(DebugInfoOffset(at))?;
        let unit = Arc::new(self.sections.dwarf.unit(header)?);
        let files = unit.line_program.as_ref().map_or(0, |program| program.header().file_names().len());
        self.tables.charge(UNIT_MEMORY + FILE_MEMORY * files as u64, limit)?;
        self.tables.units.insert(at, UnitTables { unit: Arc::clone(&unit), functions: None, lines: None });
        Ok(OpenUnit { at, unit })
    }

    fn functions(&mut self, unit: &OpenUnit, lookup: Lookup<'_>) -> Result<Arc<FunctionTable>, Fault> {
        if let Some(functions) = self.tables.units.get(&unit.at).and_then(|tables| tables.functions.as_ref())
        {
            return Ok(Arc::clone(functions));
        }
        let room = lookup.limit.saturating_sub(self.tables.memory);
        let functions = FunctionTable::build(&self.sections.dwarf, &unit.unit, &lookup.image.elf, room)?;
        self.tables.charge(functions.memory(), lookup.limit)?;
        let functions = Arc::new(functions);
        if let Some(tables) = self.tables.units.get_mut(&unit.at) {
            tables.functions = Some(Arc::clone(&functions));
        }
        Ok(functions)
    }

    fn lines(&mut self, unit: &OpenUnit, lookup: Lookup<'_>) -> Result<Arc<LineTable>, Fault> {
        if let Some(lines) = self.tables.units.get(&unit.at).and_then(|tables| tables.lines.as_ref()) {
            return Ok(Arc::clone(lines));
        }
        let room = lookup.limit.saturating_sub(self.tables.memory);
        let lines = Arc::new(LineTable::build(&unit.unit, &lookup.image.elf, room)?);
        self.tables.charge(lines.memory(), lookup.limit)?;
        if let Some(tables) = self.tables.units.get_mut(&unit.at) {
            tables.lines = Some(Arc::clone(&lines));
        }
        Ok(lines)
    }
}

impl Tables {
    fn charge(&mut self, memory: u64, limit: u64) -> Result<(), Fault> {
        let after = self.memory.saturating_add(memory);
        if after > limit {
            return Err(Fault::TooLarge);
        }
        self.memory = after;
        Ok(())
    }
}

impl Names {
    fn complete(&self) -> bool {
        self.linkage_name.is_some() && self.start_line != 0
    }

    fn complete_with(&mut self, other: Self) {
        self.linkage_name = self.linkage_name.take().or(other.linkage_name);
        self.name = self.name.take().or(other.name);
        self.start_line = if self.start_line == 0 { other.start_line } else { self.start_line };
    }

    fn len(&self) -> u64 {
        let texts = [&self.linkage_name, &self.name];
        texts.into_iter().flatten().map(|text| text.len() as u64).sum()
    }
}

impl From<gimli::Error> for Fault {
    fn from(_: gimli::Error) -> Self {
        Self::Malformed
    }
}
