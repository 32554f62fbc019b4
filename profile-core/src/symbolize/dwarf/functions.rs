//! The functions of one unit, and the inlined calls around an address in one of them.

use super::lines::Row;
use super::sections::R;
use crate::symbolize::elf::{Elf, Fault};
use gimli::{Abbreviation, AttributeValue, Dwarf, EntriesRaw, RangeListsOffset, Unit, UnitOffset};
use std::ops::Range;

/// The address ranges of the functions of one unit.
#[derive(Debug)]
pub(super) struct FunctionTable {
    /// Sorted by start. A function may have several.
    ranges: Box<[FunctionRange]>,
}

#[derive(Clone, Copy, Debug)]
struct FunctionRange {
    begin: u64,
    end: u64,
    function: UnitOffset,
}

/// The attributes that matter of one entry: a unit, a function or an inlined call.
#[derive(Debug, Default)]
pub(super) struct Die {
    low: Option<u64>,
    high: Option<u64>,
    size: Option<u64>,
    ranges: Option<RangeListsOffset>,
    /// `DW_AT_linkage_name`.
    pub(super) linkage_name: Option<AttributeValue<R>>,
    /// `DW_AT_name`.
    pub(super) name: Option<AttributeValue<R>>,
    /// The entry that says the rest: `DW_AT_abstract_origin` or `DW_AT_specification`.
    pub(super) origin: Option<AttributeValue<R>>,
    /// `DW_AT_decl_line`.
    pub(super) line: u32,
    call: Row,
}

/// A call that was replaced by the body of the function.
#[derive(Debug)]
pub(super) struct InlinedCall {
    /// The function.
    pub(super) function: Die,
    /// The place of the call.
    pub(super) place: Row,
}

/// How many inlined calls around one address are shown: the innermost.
pub(super) const MOST_INLINED: usize = 63;
/// How many ranges before an address are looked at: functions should not overlap.
const LOOK_BACK: usize = 8;

impl FunctionTable {
    /// Reads every function of `unit`; fails with [`Fault::TooLarge`] if the table takes more than `room` bytes.
    pub(super) fn build(dwarf: &Dwarf<R>, unit: &Unit<R>, elf: &Elf, room: u64) -> Result<Self, Fault> {
        let most = room / size_of::<FunctionRange>() as u64;
        let mut ranges = Vec::new();
        let mut entries = unit.entries_raw(None)?;
        while !entries.is_empty() {
            let function = entries.next_offset();
            let Some(abbreviation) = entries.read_abbreviation()? else { continue };
            if abbreviation.tag() != gimli::DW_TAG_subprogram {
                entries.skip_attributes(abbreviation.attributes())?;
                continue;
            }
            let die = Die::read(dwarf, unit, &mut entries, abbreviation)?;
            die.each_range(dwarf, unit, |range| {
                if elf.is_code(range.start) {
                    ranges.push(FunctionRange { begin: range.start, end: range.end, function });
                }
                ranges.len() as u64 <= most
            })?;
        }
        ranges.sort_by_key(|range| range.begin);
        Ok(Self { ranges: ranges.into() })
    }

    /// The entry of the function that holds `address`.
    pub(super) fn find(&self, address: u64) -> Option<UnitOffset> {
        let after = self.ranges.partition_point(|range| range.begin <= address);
        let mut before = self.ranges.get(..after)?.iter().rev().take(LOOK_BACK);
        before.find(|range| address < range.end).map(|range| range.function)
    }

    /// All ranges.
    pub(super) fn ranges(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.ranges.iter().map(|range| range.begin..range.end)
    }

    /// What it takes, in bytes.
    pub(super) fn memory(&self) -> u64 {
        size_of_val(&*self.ranges) as u64
    }
}

/// The function at `offset` and the inlined calls in it that `address` lies in, outermost first.
pub(super) fn chain(
    dwarf: &Dwarf<R>,
    unit: &Unit<R>,
    offset: UnitOffset,
    address: u64,
) -> Result<(Die, Vec<InlinedCall>), Fault> {
    let mut entries = unit.entries_raw(Some(offset))?;
    let outside = entries.next_depth();
    let abbreviation = entries.read_abbreviation()?.ok_or(Fault::Malformed)?;
    let function = Die::read(dwarf, unit, &mut entries, abbreviation)?;
    let mut calls = Vec::new();
    // The depth of the innermost entry so far that holds the address: once the walk leaves it, nothing else can.
    let mut within = outside;
    while !entries.is_empty() && entries.next_depth() > within {
        let depth = entries.next_depth();
        let Some(abbreviation) = entries.read_abbreviation()? else { continue };
        match abbreviation.tag() {
            gimli::DW_TAG_inlined_subroutine => {
                let mut call = Die::read(dwarf, unit, &mut entries, abbreviation)?;
                if call.holds(dwarf, unit, address)? {
                    within = depth;
                    if calls.len() == MOST_INLINED {
                        calls.remove(0);
                        // The call next to the physical function was in the one that is gone.
                        calls
                            .iter_mut()
                            .take(1)
                            .for_each(|call: &mut InlinedCall| call.place = Row::default());
                    }
                    let place = std::mem::take(&mut call.call);
                    calls.push(InlinedCall { function: call, place });
                } else {
                    skip_children(&mut entries, depth)?;
                }
            }
            gimli::DW_TAG_subprogram => {
                entries.skip_attributes(abbreviation.attributes())?;
                skip_children(&mut entries, depth)?;
            }
            _ => entries.skip_attributes(abbreviation.attributes())?,
        }
    }
    Ok((function, calls))
}

/// The entry at `offset` of `unit`.
pub(super) fn read_entry(dwarf: &Dwarf<R>, unit: &Unit<R>, offset: UnitOffset) -> Result<Die, Fault> {
    let mut entries = unit.entries_raw(Some(offset))?;
    let abbreviation = entries.read_abbreviation()?.ok_or(Fault::Malformed)?;
    Die::read(dwarf, unit, &mut entries, abbreviation)
}

fn skip_children(entries: &mut EntriesRaw<'_, R>, depth: isize) -> Result<(), Fault> {
    while !entries.is_empty() && entries.next_depth() > depth {
        if let Some(abbreviation) = entries.read_abbreviation()? {
            entries.skip_attributes(abbreviation.attributes())?;
        }
    }
    Ok(())
}

impl Die {
    /// Reads the attributes of the entry that starts with `abbreviation`.
    pub(super) fn read(
        dwarf: &Dwarf<R>,
        unit: &Unit<R>,
        entries: &mut EntriesRaw<'_, R>,
        abbreviation: &Abbreviation,
    ) -> Result<Self, Fault> {
        let mut die = Self::default();
        for specification in abbreviation.attributes() {
            let attribute = entries.read_attribute(*specification)?;
            let value = attribute.value();
            let number = || attribute.udata_value().and_then(|value| u32::try_from(value).ok()).unwrap_or(0);
            match attribute.name() {
                gimli::DW_AT_low_pc => die.low = dwarf.attr_address(unit, value)?,
                gimli::DW_AT_high_pc => match attribute.udata_value() {
                    Some(size) => die.size = Some(size),
                    None => die.high = dwarf.attr_address(unit, value)?,
                },
                gimli::DW_AT_ranges => die.ranges = dwarf.attr_ranges_offset(unit, value)?,
                gimli::DW_AT_linkage_name | gimli::DW_AT_MIPS_linkage_name => die.linkage_name = Some(value),
                gimli::DW_AT_name => die.name = Some(value),
                gimli::DW_AT_abstract_origin | gimli::DW_AT_specification => die.origin = Some(value),
                gimli::DW_AT_decl_line => die.line = number(),
                gimli::DW_AT_call_file => {
                    // Up to version 4, file 0 is none; the list of files says so then.
                    if let AttributeValue::FileIndex(file) = value {
                        die.call.file = u32::try_from(file).unwrap_or(u32::MAX);
                    }
                }
                gimli::DW_AT_call_line => die.call.line = number(),
                gimli::DW_AT_call_column => die.call.column = number(),
                _ => {}
            }
        }
        Ok(die)
    }

    /// Whether it says anything about addresses.
    pub(super) fn has_range(&self) -> bool {
        self.ranges.is_some() || (self.low.is_some() && (self.high.is_some() || self.size.is_some()))
    }

    /// Calls `visit` with each of its ranges; a `false` ends with [`Fault::TooLarge`].
    pub(super) fn each_range(
        &self,
        dwarf: &Dwarf<R>,
        unit: &Unit<R>,
        mut visit: impl FnMut(Range<u64>) -> bool,
    ) -> Result<(), Fault> {
        let mut add = |begin: u64, end: u64| begin >= end || visit(begin..end);
        if let Some(offset) = self.ranges {
            let mut list = dwarf.ranges(unit, offset)?;
            while let Some(range) = list.next()? {
                if !add(range.begin, range.end) {
                    return Err(Fault::TooLarge);
                }
            }
            return Ok(());
        }
        let Some(begin) = self.low else { return Ok(()) };
        let end = self.high.or_else(|| begin.checked_add(self.size?));
        if end.is_some_and(|end| !add(begin, end)) { Err(Fault::TooLarge) } else { Ok(()) }
    }

    fn holds(&self, dwarf: &Dwarf<R>, unit: &Unit<R>, address: u64) -> Result<bool, Fault> {
        let mut held = false;
        self.each_range(dwarf, unit, |range| {
            held |= range.contains(&address);
            true
        })?;
        Ok(held)
    }
}
