//! Finding the records of `.eh_frame`.
//!
//! The section is a list of records, each led by its length: common information entries (CIE) and frame description
//! entries (FDE). We step from length to length ourselves, because one malformed record must not cost the rest.
//! Layout: Linux Standard Base Core, "Exception Frames"; `.eh_frame_hdr` as in the same document.

use crate::modules::Module;
use gimli::{BaseAddresses, EhFrameHdr, NativeEndian, Pointer};

/// A copy of a module's `.eh_frame`, and the address at which the module has it.
#[derive(Clone, Debug, Default)]
pub(super) struct EhFrame {
    /// Where the section starts in the process.
    pub(super) address: u64,
    /// Its bytes, up to the terminator.
    pub(super) bytes: Vec<u8>,
}

impl EhFrame {
    /// Copies the section out of `module`, so that unloading it cannot pull it away; `None` if it has none, or is not
    /// loaded any more.
    #[cfg(target_os = "linux")]
    pub(super) fn copy(module: &Module) -> Option<Self> {
        let header = module.eh_frame_hdr.clone()?;
        crate::sys::modules::with_mapped(module, |mapped| {
            let address = section_address(mapped.bytes(header.clone())?, header.start)?;
            let bytes = mapped.from(address)?;
            Some(Self { address, bytes: bytes.get(..section_length(bytes))?.to_vec() })
        })?
    }

    /// Elsewhere there is no loader to ask.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn copy(_module: &Module) -> Option<Self> {
        None
    }
}

/// The address of `.eh_frame` as the mapped `.eh_frame_hdr` tells it.
pub(super) fn section_address(header: &[u8], header_address: u64) -> Option<u64> {
    let bases = BaseAddresses::default().set_eh_frame_hdr(header_address);
    let parsed = EhFrameHdr::new(header, NativeEndian).parse(&bases, 8).ok()?;
    match parsed.eh_frame_ptr() {
        Pointer::Direct(address) => Some(address),
        Pointer::Indirect(_) => None,
    }
}

/// How many of `bytes`, which start at a section and may run on behind it, belong to the section.
pub(super) fn section_length(bytes: &[u8]) -> usize {
    Records::new(bytes).last().map_or(0, |record| record.end)
}

/// One record: where it starts and ends in the section, and whether it is an FDE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) is_fde: bool,
}

/// Iterates over the records up to the terminator, or to the first length that cannot be.
#[derive(Clone, Debug)]
pub(super) struct Records<'a> {
    bytes: &'a [u8],
    next: usize,
}

impl<'a> Records<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, next: 0 }
    }

    fn word(&self, at: usize) -> Option<u32> {
        let word = self.bytes.get(at..at.checked_add(4)?)?;
        Some(u32::from_ne_bytes(word.try_into().ok()?))
    }

    /// Where the content of the record at `start` lies: after a 4-byte length, or after the 12 bytes of a long one.
    fn content(&self, start: usize) -> Option<(usize, usize)> {
        let (content, length) = match self.word(start)? {
            u32::MAX => {
                let wide = self.bytes.get(start.checked_add(4)?..start.checked_add(12)?)?;
                (start.checked_add(12)?, usize::try_from(u64::from_ne_bytes(wide.try_into().ok()?)).ok()?)
            }
            length => (start.checked_add(4)?, usize::try_from(length).ok()?),
        };
        let end = content.checked_add(length)?;
        (length >= 4 && end <= self.bytes.len()).then_some((content, end))
    }
}

impl Iterator for Records<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        let start = self.next;
        let (content, end) = self.content(start)?;
        self.next = end;
        // The first word of a CIE is zero; that of an FDE is the distance back to its CIE.
        Some(Record { start, end, is_fde: self.word(content)? != 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_end_at_the_terminator_or_at_a_length_that_cannot_be() {
        let mut bytes = vec![8, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]; // a CIE of 8 bytes
        bytes.extend([4, 0, 0, 0, 16, 0, 0, 0]); // an FDE of 4
        let expected =
            [Record { start: 0, end: 12, is_fde: false }, Record { start: 12, end: 20, is_fde: true }];
        for rest in [&[0, 0, 0, 0, 9, 9, 9, 9][..], &[5, 0, 0, 0, 1][..], &[1][..], &[][..], &[0xff; 16][..]]
        {
            let section = [&bytes, rest].concat();
            assert_eq!(Records::new(&section).collect::<Vec<_>>(), expected);
            assert_eq!(section_length(&section), 20);
        }
    }

    #[test]
    fn a_long_length_is_read() {
        let mut bytes = vec![0xff, 0xff, 0xff, 0xff, 4, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend([7, 0, 0, 0]);
        assert_eq!(Records::new(&bytes).collect::<Vec<_>>(), [Record { start: 0, end: 16, is_fde: true }]);
    }

    #[test]
    fn the_header_leads_to_the_section() {
        // version 1, pcrel | sdata4; the pointer is relative to its own place, 4 bytes into the header.
        let header = [1, 0x1b, 0xff, 0xff, 0x10, 0, 0, 0];
        assert_eq!(section_address(&header, 0x1000), Some(0x1014));
        assert_eq!(section_address(&header[..6], 0x1000), None);
        assert_eq!(section_address(&[2, 0x1b, 0xff, 0xff, 0x10, 0, 0, 0], 0x1000), None);
        // indirect pointers exist on paper only
        assert_eq!(section_address(&[1, 0x9b, 0xff, 0xff, 0x10, 0, 0, 0], 0x1000), None);
    }
}
