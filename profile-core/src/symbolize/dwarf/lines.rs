//! The line table of one unit: which place in the source each instruction comes from.

use super::sections::R;
use crate::symbolize::elf::{Elf, Fault};
use gimli::{ColumnType, Unit};

/// The rows of one unit's line program.
#[derive(Debug, Default)]
pub(super) struct LineTable {
    /// Runs of instructions without a gap, sorted by start.
    sequences: Vec<Sequence>,
    /// The rows of all sequences, one sequence after the other.
    rows: Vec<(u32, Row)>,
}

/// A place in the source; line and column 0 are unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// An index into the unit's list of files, or [`NO_FILE`].
    pub(super) file: u32,
    /// From 1.
    pub(super) line: u32,
    /// From 1.
    pub(super) column: u32,
}

#[derive(Clone, Copy, Debug)]
struct Sequence {
    start: u64,
    end: u64,
    /// Its part of `LineTable::rows`.
    first: usize,
    last: usize,
}

/// Index 0 is a file since version 5.
const NO_FILE: u32 = u32::MAX;
/// How many sequences before an address are looked at: they should not overlap.
const LOOK_BACK: usize = 8;

impl LineTable {
    /// Runs the line program of `unit`; fails with [`Fault::TooLarge`] if the table takes more than `room` bytes.
    pub(super) fn build(unit: &Unit<R>, elf: &Elf, room: u64) -> Result<Self, Fault> {
        let mut table = Self::default();
        let Some(program) = unit.line_program.clone() else { return Ok(table) };
        let mut rows = program.rows();
        let (mut start, mut first) = (None, 0);
        // A malformed rest of the program costs the rest of the lines; the sequences before it are complete.
        while let Ok(Some((_, row))) = rows.next_row() {
            let begin = *start.get_or_insert(row.address());
            if row.end_sequence() {
                // What the linker threw away keeps its lines, at addresses that hold no code.
                if row.address() > begin && elf.is_code(begin) {
                    let last = table.rows.len();
                    table.sequences.push(Sequence { start: begin, end: row.address(), first, last });
                }
                first = table.sequences.last().map_or(0, |sequence| sequence.last);
                table.rows.truncate(first);
                start = None;
                continue;
            }
            let Some(offset) = row.address().checked_sub(begin).and_then(|offset| u32::try_from(offset).ok())
            else {
                continue;
            };
            let place = Row::of(row);
            match table.rows.get_mut(first..).and_then(<[_]>::last_mut).filter(|last| last.0 == offset) {
                Some(last) => last.1 = place,
                None => table.rows.push((offset, place)),
            }
            if table.memory() > room {
                return Err(Fault::TooLarge);
            }
        }
        table.rows.truncate(table.sequences.last().map_or(0, |sequence| sequence.last));
        table.rows.shrink_to_fit();
        table.sequences.sort_by_key(|sequence| sequence.start);
        Ok(table)
    }

    /// The row that covers `address`.
    pub(super) fn find(&self, address: u64) -> Option<Row> {
        let after = self.sequences.partition_point(|sequence| sequence.start <= address);
        let mut before = self.sequences.get(..after)?.iter().rev().take(LOOK_BACK);
        let sequence = before.find(|sequence| address < sequence.end)?;
        let rows = self.rows.get(sequence.first..sequence.last)?;
        let offset = u32::try_from(address - sequence.start).ok()?;
        let after = rows.partition_point(|(at, _)| *at <= offset);
        rows.get(after.checked_sub(1)?).map(|(_, row)| *row)
    }

    /// What it takes, in bytes.
    pub(super) fn memory(&self) -> u64 {
        (size_of_val(&*self.rows) + size_of_val(&*self.sequences)) as u64
    }
}

impl Default for Row {
    fn default() -> Self {
        Self { file: NO_FILE, line: 0, column: 0 }
    }
}

impl Row {
    /// Line 0 means that the instructions come from no line in particular; the column says nothing then.
    fn of(row: &gimli::LineRow) -> Self {
        let small = |value: u64| u32::try_from(value).unwrap_or(0);
        let line = row.line().map_or(0, |line| small(line.get()));
        let column = match row.column() {
            ColumnType::Column(column) if line != 0 => small(column.get()),
            _ => 0,
        };
        Self { file: u32::try_from(row.file_index()).unwrap_or(NO_FILE), line, column }
    }
}
