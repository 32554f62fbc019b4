//! Regions: names of hot functions that have no span, interned once per process.

use super::intern::{Interner, NONE, hash};

/// The name of a region, as an index into the process's table: what `#[profiled(span = false)]` puts on samples.
///
/// [`Region::NONE`] is code outside every region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Region(u32);

/// The most regions of a process. Names beyond that become [`OVERFLOW_NAME`].
const MAX_REGIONS: usize = 4096;

/// Stands for every region that did not fit into the table.
const OVERFLOW_NAME: &str = "[regions overflow]";

static TABLE: Interner<&'static str, MAX_REGIONS, { MAX_REGIONS * 2 }> = Interner::new();

impl Region {
    /// Outside every region.
    pub const NONE: Self = Self(NONE);

    /// The region called `name`; never [`Region::NONE`]. A process has at most 4096; others are `[regions overflow]`.
    #[must_use]
    pub fn of(name: &'static str) -> Self {
        let number = TABLE.intern(hash(0, name.as_bytes()), |known| *known == name, || name);
        Self(number.unwrap_or_else(|| TABLE.overflow(|| OVERFLOW_NAME)))
    }

    /// The name; empty for [`Region::NONE`].
    #[must_use]
    pub fn name(self) -> &'static str {
        TABLE.get(self.0).copied().unwrap_or_default()
    }

    /// The region as a number, for storage in an atomic.
    #[inline]
    pub(crate) const fn to_u32(self) -> u32 {
        self.0
    }

    /// The region stored as `number`.
    #[inline]
    pub(crate) const fn from_u32(number: u32) -> Self {
        Self(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_names_are_one_region() {
        let region = Region::of("region-a");
        let same_text: &'static str = String::from("region-a").leak();
        assert_eq!((Region::of(same_text), region.name()), (region, "region-a"));
        assert_ne!(Region::of("region-b"), region);
        assert_eq!((Region::NONE.name(), Region::from_u32(u32::MAX).name()), ("", ""));
    }
}
