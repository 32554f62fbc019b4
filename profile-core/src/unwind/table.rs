//! The rows of one module, packed for lookup.
//!
//! The code is cut into pages of 256 bytes. An index says where each page's rows begin, so a row needs only the low 8
//! bits of its offset: 4 bytes a row with its 16-bit rule id, half of a plain pair, and some 7 rows a page. A cold
//! lookup touches two cache lines, one of the index and one of the rows, and looks at no more than 256 rows.

use super::compile::Row;
use super::rule::RuleId;

const PAGE_BITS: u32 = 8;
const PAGE_MASK: u32 = (1 << PAGE_BITS) - 1;

/// The rules of one module's code. Immutable.
#[derive(Debug)]
pub(super) struct ModuleTable {
    /// The first address that the index covers.
    start: u64,
    /// For each page, the number of rows before it; one more at the end.
    pages: Box<[u32]>,
    rows: Box<[PackedRow]>,
}

/// The offset's low 8 bits above 16 bits of rule id.
#[derive(Clone, Copy, Debug)]
struct PackedRow(u32);

impl PackedRow {
    fn new(row: Row) -> Self {
        Self((row.offset & PAGE_MASK) << 16 | u32::from(row.rule.0))
    }

    const fn low_bits(self) -> u32 {
        self.0 >> 16
    }

    #[expect(clippy::cast_possible_truncation, reason = "the id is the low half")]
    const fn rule(self) -> RuleId {
        RuleId(self.0 as u16)
    }
}

impl ModuleTable {
    /// Packs `rows`, which are in order of offset from `text_start`. Only the pages from the first row to the last get
    /// an index, so that far-apart segments or an empty table cost nothing.
    pub(super) fn new(text_start: u64, rows: &[Row]) -> Self {
        let page_of = |row: Option<&Row>| row.map_or(0, |row| row.offset >> PAGE_BITS);
        let (first, last) = (page_of(rows.first()), page_of(rows.last()));
        let mut pages = Vec::with_capacity((last - first) as usize + 2);
        let mut before = 0;
        for page in first..=last {
            pages.push(before);
            let rest = rows.get(before as usize..).unwrap_or_default();
            before += rest.iter().take_while(|row| row.offset >> PAGE_BITS == page).count() as u32;
        }
        pages.push(before);
        Self {
            start: text_start.saturating_add(u64::from(first) << PAGE_BITS),
            pages: pages.into_boxed_slice(),
            rows: rows.iter().copied().map(PackedRow::new).collect(),
        }
    }

    /// The id of the rule for `address`. Called in the signal handler: two loads and a scan of at most 256 rows; no
    /// index can be out of range, and if one were, the answer would be "no CFI".
    #[inline]
    pub(super) fn lookup(&self, address: u64) -> RuleId {
        self.find(address).map_or(RuleId::NO_CFI, PackedRow::rule)
    }

    #[inline]
    fn find(&self, address: u64) -> Option<PackedRow> {
        let offset = address.checked_sub(self.start)?;
        let page = usize::try_from(offset >> PAGE_BITS).ok()?;
        let Some(&[begin, end]) = self.pages.get(page..page.checked_add(2)?) else {
            return self.rows.last().copied(); // behind the last row's page: that row still holds
        };
        let low_bits = (offset as u32) & PAGE_MASK;
        let in_page = self.rows.get(begin as usize..end as usize)?;
        match in_page.iter().rev().find(|row| row.low_bits() <= low_bits) {
            Some(row) => Some(*row),
            None => self.rows.get((begin as usize).checked_sub(1)?).copied(), // carried in from an earlier page
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.pages) + size_of_val(&*self.rows)
    }
}

#[cfg(test)]
#[cfg(not(loom))] // whose build has no dev-dependencies
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn linear(rows: &[Row], text_start: u64, address: u64) -> RuleId {
        let row = rows.iter().rev().find(|row| text_start + u64::from(row.offset) <= address);
        row.map_or(RuleId::NO_CFI, |row| row.rule)
    }

    #[test]
    fn an_empty_table_knows_nothing() {
        let table = ModuleTable::new(0x1000, &[]);
        for address in [0, 0xfff, 0x1000, 0x1001, u64::MAX] {
            assert_eq!(table.lookup(address), RuleId::NO_CFI);
        }
    }

    proptest! {
        #[test]
        fn lookup_is_a_linear_search(
            gaps in prop::collection::vec((1_u32..700, any::<u16>()), 1..200),
            first in 0_u32..100_000,
            probes in prop::collection::vec(0_u64..400_000, 100),
        ) {
            let mut offset = first;
            let rows: Vec<Row> = gaps.iter().map(|(gap, rule)| {
                offset += gap;
                Row { offset, rule: RuleId(*rule) }
            }).collect();
            let start = 0x5555_5555_1230;
            let table = ModuleTable::new(start, &rows);
            let edges = rows.iter().flat_map(|row| [0, 1, 2].map(|near| u64::from(row.offset) + near - 1));
            for address in edges.chain(probes).map(|offset| start + offset) {
                prop_assert_eq!(table.lookup(address), linear(&rows, start, address));
            }
        }
    }
}
