//! How much memory a profile takes, for queues that are bounded in bytes.

use super::Profile;
use super::dictionary::{Attribute, Function, Location, Mapping};
use super::sample::Sample;
use std::mem::size_of;

impl Profile {
    /// About how many bytes the profile takes in memory.
    #[must_use]
    pub fn estimated_bytes(&self) -> usize {
        let tables = &self.dictionary;
        let texts: usize = tables.strings.rows().iter().map(|text| text.len() + 2 * size_of::<usize>()).sum();
        let frames: usize =
            tables.stacks.rows().iter().map(|stack| size_of_val(&**stack) + 2 * size_of::<usize>()).sum();
        let rows = tables.functions.len() * size_of::<Function>()
            + tables.mappings.len() * size_of::<Mapping>()
            + tables.locations.len() * (size_of::<Location>() + 24)
            + tables.attributes.len() * size_of::<Attribute>()
            + self.contexts.len() * 128
            + self.samples.len() * size_of::<Sample>();
        // Every table also has an index from value to row.
        texts + frames + rows + rows / 2
    }
}
