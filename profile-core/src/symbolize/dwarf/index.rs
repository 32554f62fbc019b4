//! Which unit holds an address: the ranges of all units, sorted.
//!
//! It is kept from batch to batch, since building it means reading the head of every unit.

use super::functions::{Die, FunctionTable};
use super::sections::{R, Sections};
use crate::symbolize::elf::{Elf, Fault};
use gimli::{Unit, UnitType};
use std::ops::Range;

/// The address ranges of the units of one image.
#[derive(Debug)]
pub(crate) struct UnitIndex {
    /// Sorted by `begin`.
    ranges: Box<[UnitRange]>,
    /// Where every unit starts in `.debug_info`, in order.
    units: Box<[usize]>,
}

#[derive(Clone, Copy, Debug)]
struct UnitRange {
    begin: u64,
    end: u64,
    unit: usize,
}

/// Functions are aligned: a gap of this size between two ranges of one unit is padding.
const PADDING: u64 = 64;
/// How many ranges before an address are looked at: ranges of different units should not overlap, but do at times.
const LOOK_BACK: usize = 8;

impl UnitIndex {
    /// Reads the head of every unit; fails with [`Fault::TooLarge`] if the index takes more than `room` bytes.
    pub(super) fn build(sections: &Sections, elf: &Elf, room: u64) -> Result<Self, Fault> {
        let mut units = Vec::new();
        let mut builder = Builder { sections, elf, room, ranges: Vec::new() };
        let mut headers = sections.dwarf.units();
        while let Some(header) = headers.next()? {
            let Some(offset) = header.debug_info_offset() else { continue };
            units.push(offset.0);
            let is_compilation = matches!(header.type_(), UnitType::Compilation | UnitType::Skeleton(_));
            // A unit that cannot be read is left out; the others still serve.
            if is_compilation
                && let Ok(unit) = sections.dwarf.unit(header)
                && builder.add(&unit, offset.0) == Err(Fault::TooLarge)
            {
                return Err(Fault::TooLarge);
            }
            if memory_of(&builder.ranges, &units) > room {
                return Err(Fault::TooLarge);
            }
        }
        Ok(Self { ranges: joined(builder.ranges).into(), units: units.into() })
    }

    /// The units that may hold `address`, the most likely first.
    pub(super) fn find(&self, address: u64) -> impl Iterator<Item = usize> + '_ {
        let after = self.ranges.partition_point(|range| range.begin <= address);
        let before = self.ranges.get(..after).unwrap_or_default();
        before.iter().rev().take(LOOK_BACK).filter(move |range| address < range.end).map(|range| range.unit)
    }

    /// The unit that holds the entry at `offset` of `.debug_info`.
    pub(super) fn containing(&self, offset: usize) -> Option<usize> {
        let after = self.units.partition_point(|unit| *unit <= offset);
        self.units.get(after.checked_sub(1)?).copied()
    }

    /// What it takes, in bytes.
    pub(in crate::symbolize) fn memory(&self) -> u64 {
        memory_of(&self.ranges, &self.units)
    }
}

struct Builder<'a> {
    sections: &'a Sections,
    elf: &'a Elf,
    room: u64,
    ranges: Vec<UnitRange>,
}

impl Builder<'_> {
    fn add(&mut self, unit: &Unit<R>, at: usize) -> Result<(), Fault> {
        let dwarf = &self.sections.dwarf;
        let mut entries = unit.entries_raw(None)?;
        let Some(abbreviation) = entries.read_abbreviation()? else { return Ok(()) };
        let root = Die::read(dwarf, unit, &mut entries, abbreviation)?;
        if !root.has_range() {
            let functions = FunctionTable::build(dwarf, unit, self.elf, self.room)?;
            self.ranges.extend(functions.ranges().map(|range| UnitRange::new(range, at)));
            return Ok(());
        }
        root.each_range(dwarf, unit, |range| {
            // Units keep the ranges of functions that the linker threw away, at addresses that hold no code.
            if self.elf.is_code(range.start) {
                self.ranges.push(UnitRange::new(range, at));
            }
            memory_of(&self.ranges, &[]) <= self.room
        })
    }
}

impl UnitRange {
    fn new(range: Range<u64>, unit: usize) -> Self {
        Self { begin: range.start, end: range.end, unit }
    }
}

/// The ranges sorted, those of one unit that follow each other joined.
fn joined(mut ranges: Vec<UnitRange>) -> Vec<UnitRange> {
    ranges.sort_unstable_by_key(|range| (range.begin, range.end, range.unit));
    ranges.dedup_by(|next, last| {
        let adjacent = next.unit == last.unit && next.begin <= last.end.saturating_add(PADDING);
        if adjacent {
            last.end = last.end.max(next.end);
        }
        adjacent
    });
    ranges
}

fn memory_of(ranges: &[UnitRange], units: &[usize]) -> u64 {
    (size_of_val(ranges) + size_of_val(units)) as u64
}
