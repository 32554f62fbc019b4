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
use self::lines::{LineTable, Location};
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
    /// The units asked for in this batch.
    units: HashMap<usize, UnitTables>,
    /// What `units` take, in bytes.
    units_memory: u64,
}

/// What DWARF says about one frame. A function has a linkage name, a plain name, or neither.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct DwarfFrame {
    /// The name the linker knows.
    pub(super) linkage_name: Option<String>,
    /// The name in the source, without its module or namespace.
    pub(super) name: Option<String>,
    /// The file; 0 for the line and the column stands for unknown.
    pub(super) location: Location,
    /// The first line of the function; 0 is unknown.
    pub(super) start_line: u32,
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
    units_limit: u64,
}

/// References between entries that are followed for a name.
const MOST_HOPS: usize = 8;
/// Units that claim one address.
const MOST_UNITS: usize = 8;
/// About what the headers of a unit take; most of it is the list of its files.
const UNIT_MEMORY: u64 = 1 << 10;
const FILE_MEMORY: u64 = 256;

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
        Ok(Self { sections, index, units: HashMap::new(), units_memory: 0 })
    }

    /// The index of the units, for the next batch.
    pub(super) fn index(&self) -> &Arc<UnitIndex> {
        &self.index
    }

    /// The memory in use, in bytes.
    pub(super) fn memory(&self) -> u64 {
        self.sections.memory + self.index.memory() + self.units_memory
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
        let units_limit = limit.saturating_sub(self.sections.memory + self.index.memory());
        let lookup = Lookup { image, address, units_limit };
        let candidates: Vec<usize> = self.index.find(address).take(MOST_UNITS).collect();
        for unit in candidates {
            let frames = match self.frames_in(unit, lookup) {
                // The tables of other units left too little room: forget them and try once more.
                Err(Fault::TooLarge) if self.units_memory > 0 => {
                    self.units.clear();
                    self.units_memory = 0;
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
        let unit = self.unit(at, lookup.units_limit)?;
        let functions = self.functions(&unit, lookup)?;
        let row = self.lines(&unit, lookup)?.find(lookup.address);
        let mut location = self.sections.location(lookup.image, &unit.unit, row.unwrap_or_default());
        let Some(function) = functions.find(lookup.address) else {
            let frame = DwarfFrame { location, ..DwarfFrame::default() };
            return Ok(row.map(|_| frame).into_iter().collect());
        };
        let (physical, calls) = functions::chain(&self.sections.dwarf, &unit.unit, function, lookup.address)?;
        let mut frames = Vec::with_capacity(calls.len() + 1);
        for InlinedCall { function, place } in calls.into_iter().rev() {
            let call = self.sections.location(lookup.image, &unit.unit, place);
            frames.push(self.frame(lookup, &unit, function, std::mem::replace(&mut location, call)));
        }
        frames.push(self.frame(lookup, &unit, physical, location));
        Ok(frames)
    }

    /// The frame of the function in `die`, following its references until its name and first line are known.
    fn frame(&mut self, lookup: Lookup<'_>, unit: &OpenUnit, mut die: Die, location: Location) -> DwarfFrame {
        let mut unit = unit.clone();
        let mut frame = DwarfFrame { location, ..DwarfFrame::default() };
        for _ in 0..MOST_HOPS {
            let text = |value: &Option<_>| self.sections.text(lookup.image, &unit.unit, value.as_ref()?);
            frame.linkage_name = frame.linkage_name.or_else(|| text(&die.linkage_name));
            frame.name = frame.name.or_else(|| text(&die.name));
            frame.start_line = if frame.start_line == 0 { die.line } else { frame.start_line };
            let complete = frame.linkage_name.is_some() && frame.start_line != 0;
            let Some(origin) = die.origin.filter(|_| !complete) else { break };
            // A reference that leads nowhere costs the name, not the frame.
            let Some((at, entry)) = self.follow(&unit, &origin) else { break };
            let Ok(next) = self.unit(at, lookup.units_limit) else { break };
            let Ok(target) = functions::read_entry(&self.sections.dwarf, &next.unit, entry) else { break };
            (unit, die) = (next, target);
        }
        frame
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
        if let Some(tables) = self.units.get(&at) {
            return Ok(OpenUnit { at, unit: Arc::clone(&tables.unit) });
        }
        let header = self.sections.dwarf.debug_info.header_from_offset(DebugInfoOffset(at))?;
        let unit = Arc::new(self.sections.dwarf.unit(header)?);
        let files = unit.line_program.as_ref().map_or(0, |program| program.header().file_names().len());
        self.charge(UNIT_MEMORY + FILE_MEMORY * files as u64, limit)?;
        self.units.insert(at, UnitTables { unit: Arc::clone(&unit), functions: None, lines: None });
        Ok(OpenUnit { at, unit })
    }

    fn functions(&mut self, unit: &OpenUnit, lookup: Lookup<'_>) -> Result<Arc<FunctionTable>, Fault> {
        if let Some(functions) = self.units.get(&unit.at).and_then(|tables| tables.functions.as_ref()) {
            return Ok(Arc::clone(functions));
        }
        let room = lookup.units_limit.saturating_sub(self.units_memory);
        let functions = FunctionTable::build(&self.sections.dwarf, &unit.unit, &lookup.image.elf, room)?;
        self.charge(functions.memory(), lookup.units_limit)?;
        let functions = Arc::new(functions);
        if let Some(tables) = self.units.get_mut(&unit.at) {
            tables.functions = Some(Arc::clone(&functions));
        }
        Ok(functions)
    }

    fn lines(&mut self, unit: &OpenUnit, lookup: Lookup<'_>) -> Result<Arc<LineTable>, Fault> {
        if let Some(lines) = self.units.get(&unit.at).and_then(|tables| tables.lines.as_ref()) {
            return Ok(Arc::clone(lines));
        }
        let room = lookup.units_limit.saturating_sub(self.units_memory);
        let lines = Arc::new(LineTable::build(&unit.unit, &lookup.image.elf, room)?);
        self.charge(lines.memory(), lookup.units_limit)?;
        if let Some(tables) = self.units.get_mut(&unit.at) {
            tables.lines = Some(Arc::clone(&lines));
        }
        Ok(lines)
    }

    fn charge(&mut self, memory: u64, limit: u64) -> Result<(), Fault> {
        let after = self.units_memory.saturating_add(memory);
        if after > limit {
            return Err(Fault::TooLarge);
        }
        self.units_memory = after;
        Ok(())
    }
}

impl From<gimli::Error> for Fault {
    fn from(_: gimli::Error) -> Self {
        Self::Malformed
    }
}
