//! How much memory a profile takes, for queues that are bounded in bytes.
//!
//! Counted is every block that the profile holds, as large as an allocator makes it; a test counts the same from
//! outside. A name that the symbolizer's cache or another profile holds as well is counted in each: they may go first.

use super::Profile;
use super::dictionary::{AttributeValue, Dictionary};
use super::sample::Sample;
use super::table::Table;
use std::mem::size_of;
use std::sync::Arc;

/// The two counters in front of what an `Arc` points to.
const COUNTERS: usize = 2 * size_of::<usize>();

impl Profile {
    /// About how many bytes the profile takes in memory.
    #[must_use]
    pub fn estimated_bytes(&self) -> usize {
        block(COUNTERS + size_of::<Self>())
            + dictionary(&self.dictionary)
            + table(&self.contexts, |_| 0)
            + table(&self.labels, |labels| block(size_of_val(&*labels.attributes)))
            + block(self.samples.capacity() * size_of::<Sample>())
            + block(size_of_val(&*self.loss_stacks))
    }
}

fn dictionary(tables: &Dictionary) -> usize {
    table(&tables.strings, text)
        + table(&tables.functions, |_| 0)
        + table(&tables.mappings, |_| 0)
        + table(&tables.locations, |location| block(size_of_val(&*location.lines)))
        + table(&tables.stacks, |stack| block(size_of_val(&**stack)))
        + table(&tables.links, |_| 0)
        + table(&tables.attributes, |attribute| match &attribute.value {
            AttributeValue::None => 0,
            AttributeValue::Text(value) => text(value),
            AttributeValue::Texts(values) => {
                block(size_of_val(&**values)) + values.iter().map(text).sum::<usize>()
            }
        })
}

/// A table, with what each of its rows points to.
fn table<I, T>(table: &Table<I, T>, of_row: impl Fn(&T) -> usize) -> usize {
    let [rows, index] = table.blocks();
    block(rows) + block(index) + table.rows().iter().map(of_row).sum::<usize>()
}

fn text(text: &Arc<str>) -> usize {
    block(COUNTERS + text.len())
}

/// What an allocator takes for a block of `bytes`: that of the C library adds a head of 8 bytes and rounds up to 16, to 32
/// at least. Nothing is allocated for nothing.
const fn block(bytes: usize) -> usize {
    if bytes == 0 {
        return 0;
    }
    let rounded = bytes.saturating_add(8 + 15) & !15;
    if rounded < 32 { 32 } else { rounded }
}
