//! From the bytes of `.eh_frame` to sorted rows: "from this offset on, this rule".
//!
//! Each FDE describes one function as a little program that gimli runs; every row it yields is translated to a rule
//! ([`translate`](super::translate)). What no FDE covers becomes a row "no CFI", so that a lookup needs no ends of
//! functions. A malformed FDE costs its own function only, and is counted.
//!
//! Everything here is safe code over a slice: whatever the bytes say, the result is some table, and a wrong table can
//! only yield wrong addresses (see [`walk`](super::walk)). Sizes are bounded by constants and by the input's length.

use super::arch::Architecture;
use super::eh_frame::{Record, Records};
use super::rule::{RuleId, RuleTable};
use super::translate;
use gimli::{
    BaseAddresses, CommonInformationEntry, EndianSlice, FrameDescriptionEntry, NativeEndian, UnwindContext,
    UnwindSection,
};
use std::collections::HashMap;
use std::ops::Range;

type Bytes<'a> = EndianSlice<'a, NativeEndian>;

/// The most rows of one module; what the section describes behind them is code without CFI. 64 MB of rows, some 500 MB of machine code.
const MAX_ROWS: usize = 1 << 24;
/// The longest program of a CIE, run once per FDE; compilers write about 5 bytes.
const MAX_CIE_LENGTH: usize = 4096;

/// From `offset` on (bytes from the start of the text) holds `rule`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) offset: u32,
    pub(super) rule: RuleId,
}

/// The rows of one module in order of offset, no two neighbours alike, and what became of its FDEs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Compiled {
    pub(super) rows: Vec<Row>,
    /// FDEs that cover code of this module.
    pub(super) functions: u32,
    /// FDEs that were malformed, wholly or from some instruction on.
    pub(super) malformed: u32,
    /// Rows whose rule cannot be followed.
    pub(super) unsupported: u32,
}

/// Compiles the section `bytes`, which the process has at `address`, for the code in `text`.
pub(super) fn compile<A: Architecture>(
    bytes: &[u8],
    address: u64,
    text: Range<u64>,
    rules: &mut RuleTable,
) -> Compiled {
    let mut section = gimli::EhFrame::new(bytes, NativeEndian);
    section.set_vendor(A::VENDOR);
    let bases = BaseAddresses::default().set_eh_frame(address).set_text(text.start);
    let mut compiler = Compiler {
        section,
        bases,
        text,
        rules,
        context: UnwindContext::new(),
        functions: Vec::new(),
        rows: Vec::new(),
        malformed: 0,
    };
    let mut cies = HashMap::new();
    for record in Records::new(bytes).filter(|record| record.is_fde) {
        if compiler.rows.len() >= MAX_ROWS {
            break;
        }
        match compiler.parse(record, &mut cies) {
            Ok(fde) => compiler.add::<A>(&fde),
            Err(_) => compiler.malformed = compiler.malformed.saturating_add(1),
        }
    }
    compiler.finish()
}

/// One function: its offsets in the text and its rows in [`Compiler::rows`].
struct Function {
    start: u32,
    end: u32,
    rows: Range<usize>,
}

struct Compiler<'a, 'r> {
    section: gimli::EhFrame<Bytes<'a>>,
    bases: BaseAddresses,
    text: Range<u64>,
    rules: &'r mut RuleTable,
    context: UnwindContext<usize>,
    functions: Vec<Function>,
    rows: Vec<Row>,
    malformed: u32,
}

impl<'a> Compiler<'a, '_> {
    fn parse(
        &self,
        record: Record,
        cies: &mut HashMap<usize, CommonInformationEntry<Bytes<'a>>>,
    ) -> gimli::Result<FrameDescriptionEntry<Bytes<'a>>> {
        let fde = self.section.partial_fde_from_offset(&self.bases, record.start.into())?;
        fde.parse(|section, bases, offset| {
            if let Some(cie) = cies.get(&offset.0) {
                return Ok(cie.clone());
            }
            let cie = section.cie_from_offset(bases, offset)?;
            if cie.entry_len() > MAX_CIE_LENGTH {
                return Err(gimli::Error::OffsetOutOfBounds(offset.0 as u64)); // any error will do: it is only counted
            }
            cies.insert(offset.0, cie.clone());
            Ok(cie)
        })
    }

    /// Adds the rows of one function. An FDE of code that is not here (of a discarded section, say) is not an error.
    fn add<A: Architecture>(&mut self, fde: &FrameDescriptionEntry<Bytes<'a>>) {
        let Some(function) = self.clip(fde) else { return };
        let first = self.rows.len();
        if self.add_rows::<A>(fde, &function).is_err() {
            self.malformed = self.malformed.saturating_add(1);
        }
        let rows = first..self.rows.len();
        self.functions.push(Function { start: function.start, end: function.end, rows });
    }

    /// The part of the function that lies in the text, as offsets.
    fn clip(&self, fde: &FrameDescriptionEntry<Bytes<'a>>) -> Option<Range<u32>> {
        let start = fde.initial_address();
        let end = start.checked_add(fde.len())?.min(self.text.end);
        if start < self.text.start || start >= end {
            return None;
        }
        let offset = |address: u64| u32::try_from(address - self.text.start).ok();
        Some(offset(start)?..offset(end)?)
    }

    /// Runs the function's program. After an error the rest of the function is unsupported, not without CFI.
    fn add_rows<A: Architecture>(
        &mut self,
        fde: &FrameDescriptionEntry<Bytes<'a>>,
        function: &Range<u32>,
    ) -> gimli::Result<()> {
        let mut next = Row { offset: function.start, rule: RuleId::UNSUPPORTED };
        let outcome = (|| {
            let mut table = fde.rows(&self.section, &self.bases, &mut self.context)?;
            while let Some(row) = table.next_row()? {
                let offset = |address: u64| {
                    u32::try_from(address.saturating_sub(self.text.start))
                        .unwrap_or(u32::MAX)
                        .min(function.end)
                };
                let start = offset(row.start_address());
                next.offset = offset(row.end_address());
                if start >= function.end {
                    break;
                }
                if self.rows.len() >= MAX_ROWS {
                    self.rows.push(Row { offset: start, rule: RuleId::UNSUPPORTED });
                    break;
                }
                let rule = translate::rule::<A>(row, &self.section, fde);
                self.rows.push(Row { offset: start, rule: self.rules.id_of::<A>(rule) });
            }
            Ok(())
        })();
        if outcome.is_err() && next.offset < function.end {
            self.rows.push(next);
        }
        outcome
    }

    /// Puts the functions in order and closes the gaps between them.
    fn finish(mut self) -> Compiled {
        self.functions.sort_by_key(|function| function.start);
        let mut out = Compiled {
            rows: Vec::with_capacity(self.rows.len()),
            functions: u32::try_from(self.functions.len()).unwrap_or(u32::MAX),
            malformed: self.malformed,
            unsupported: 0,
        };
        for (index, function) in self.functions.iter().enumerate() {
            // Where two FDEs overlap, the one that starts later wins from its start on.
            let next = self.functions.get(index + 1).map_or(u32::MAX, |next| next.start);
            let rows = self.rows.get(function.rows.clone()).unwrap_or_default();
            for row in rows.iter().take_while(|row| row.offset < next) {
                push(&mut out.rows, *row);
            }
            if function.end < next {
                push(&mut out.rows, Row { offset: function.end, rule: RuleId::NO_CFI });
            }
        }
        let unsupported = out.rows.iter().filter(|row| row.rule == RuleId::UNSUPPORTED).count();
        out.unsupported = u32::try_from(unsupported).unwrap_or(u32::MAX);
        out.rows.shrink_to_fit();
        out
    }
}

/// Appends `row`: a later row at the same offset replaces the earlier one, and a repeated rule needs no row.
fn push(rows: &mut Vec<Row>, row: Row) {
    if rows.last().is_some_and(|last| last.offset >= row.offset) {
        rows.pop();
    }
    if rows.last().is_none_or(|last| last.rule != row.rule) {
        rows.push(row);
    }
}

#[cfg(test)]
#[cfg(not(loom))] // whose build has no dev-dependencies
mod tests;
