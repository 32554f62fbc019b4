//! The parts of an ELF file that symbols need: loadable segments, sections and the GNU build id.
//!
//! Only what can be mapped into this very process is understood: ELF64 in this machine's byte order. Every number
//! comes from a file that may be truncated or malformed, so each is checked where it is used, and every table has a
//! bound. The format: System V ABI, chapters 4 and 5; <https://gabi.xinuos.com>.

use super::bytes::{ReadAt, read};
use std::fmt;
use std::ops::Range;

/// Why a file, or a part of it, cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Reading failed.
    Read,
    /// The file ends before the data its headers describe.
    Truncated,
    /// Not an ELF file of this machine's kind.
    NotElf,
    /// The file contradicts the format.
    Malformed,
    /// A table is larger than its bound.
    TooLarge,
    /// A section is compressed in a way that is not supported.
    Compression,
    /// There is no such part.
    Absent,
}

/// The headers of an ELF file.
#[derive(Debug)]
pub(super) struct Elf {
    /// The `PT_LOAD` segments.
    pub(super) segments: Vec<Load>,
    /// The GNU build id.
    pub(super) build_id: Option<Box<[u8]>>,
    sections: Vec<Section>,
}

/// One `PT_LOAD` segment, in the file's own addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Load {
    /// Its addresses.
    pub(super) range: Range<u64>,
    /// Where it starts in the file.
    pub(super) file_offset: u64,
    /// How many bytes of it are in the file.
    pub(super) file_size: u64,
    /// Whether it is executable.
    pub(super) executable: bool,
}

/// One section that has contents in the file.
#[derive(Clone, Debug)]
pub(super) struct Section {
    name: Box<[u8]>,
    /// `SHT_*`.
    pub(super) kind: u32,
    /// `SHF_*`.
    pub(super) flags: u64,
    /// Its bytes in the file.
    pub(super) file: Range<u64>,
    /// Where it ends in memory, in the file's own addresses.
    end_address: u64,
    /// The index of the section it refers to.
    pub(super) link: usize,
}

/// `Elf64_Shdr::sh_type`.
pub(super) const SHT_SYMTAB: u32 = 2;
pub(super) const SHT_DYNSYM: u32 = 11;
const SHT_NULL: u32 = 0;
const SHT_NOTE: u32 = 7;
const SHT_NOBITS: u32 = 8;
/// `Elf64_Shdr::sh_flags`: the contents begin with an `Elf64_Chdr`.
pub(super) const SHF_COMPRESSED: u64 = 0x800;
/// `Elf64_Phdr::p_type` and `p_flags`.
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const PF_X: u32 = 1;
/// `e_ident` and `e_type`.
const ELFCLASS64: u8 = 2;
const ELFDATA2LSB: u8 = 1;
const ELFDATA2MSB: u8 = 2;
const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;
/// The type of the note that holds a build id, whose name is `GNU`.
const NT_GNU_BUILD_ID: u32 = 3;

const HEADER_SIZE: usize = 64;
const PROGRAM_HEADER_SIZE: usize = 56;
const SECTION_HEADER_SIZE: usize = 64;
/// Real files have about 10 and 40.
const MOST_PROGRAM_HEADERS: u64 = 1024;
const MOST_SECTIONS: u64 = 4096;
const LONGEST_SECTION_NAMES: u64 = 1 << 20;
const LONGEST_NOTES: u64 = 64 << 10;

impl Elf {
    /// Reads the headers of an executable, a shared library, or the separate debug file of one.
    pub(super) fn parse(source: &dyn ReadAt) -> Result<Self, Fault> {
        let header = read(source, 0, HEADER_SIZE as u64, HEADER_SIZE as u64).map_err(|_| Fault::NotElf)?;
        let byte_order = if cfg!(target_endian = "little") { ELFDATA2LSB } else { ELFDATA2MSB };
        let ident = [b"\x7fELF".as_slice(), &[ELFCLASS64, byte_order]].concat();
        let kind = u16_at(&header, 16)?;
        if !header.starts_with(&ident) || ![ET_EXEC, ET_DYN].contains(&kind) {
            return Err(Fault::NotElf);
        }
        let mut parsed = Self { segments: Vec::new(), build_id: None, sections: Vec::new() };
        let note_segments = parsed.read_segments(source, &header)?;
        parsed.read_sections(source, &header)?;
        let is_note = |section: &&Section| section.kind == SHT_NOTE;
        let note_sections = parsed.sections.iter().filter(is_note).map(|section| section.file.clone());
        // A separate debug file keeps the note's section, but not always its segment; a file without section
        // headers has only the segment.
        parsed.build_id = note_sections.chain(note_segments).find_map(|notes| build_id(source, &notes));
        Ok(parsed)
    }

    /// The section called `name` that has contents.
    pub(super) fn section(&self, name: &str) -> Option<&Section> {
        self.sections
            .iter()
            .find(|section| section.name.as_ref() == name.as_bytes() && section.has_contents())
    }

    /// The first section of `kind` with contents, and the section that it links to.
    pub(super) fn linked(&self, kind: u32) -> Option<(&Section, &Section)> {
        let section = self.sections.iter().find(|section| section.kind == kind && section.has_contents())?;
        Some((section, self.sections.get(section.link)?))
    }

    /// Where the section with this index ends in memory.
    pub(super) fn section_end(&self, index: u16) -> Option<u64> {
        self.sections.get(usize::from(index)).map(|section| section.end_address)
    }

    /// Whether `address` is in an executable segment.
    pub(super) fn is_code(&self, address: u64) -> bool {
        self.segments.iter().any(|segment| segment.executable && segment.range.contains(&address))
    }

    /// The lowest address.
    pub(super) fn base(&self) -> u64 {
        self.segments.iter().map(|segment| segment.range.start).min().unwrap_or(0)
    }

    /// Fills `segments`; returns where the notes are.
    fn read_segments(&mut self, source: &dyn ReadAt, header: &[u8]) -> Result<Vec<Range<u64>>, Fault> {
        let (offset, count) = (u64_at(header, 32)?, u64::from(u16_at(header, 56)?));
        if count > 0 && usize::from(u16_at(header, 54)?) != PROGRAM_HEADER_SIZE {
            return Err(Fault::Malformed);
        }
        let size = count * PROGRAM_HEADER_SIZE as u64;
        let table = read(source, offset, size, MOST_PROGRAM_HEADERS * PROGRAM_HEADER_SIZE as u64)?;
        let mut notes = Vec::new();
        for entry in table.chunks_exact(PROGRAM_HEADER_SIZE) {
            let (file_offset, address) = (u64_at(entry, 8)?, u64_at(entry, 16)?);
            let (file_size, memory_size) = (u64_at(entry, 32)?, u64_at(entry, 40)?);
            let range = address..address.checked_add(memory_size).ok_or(Fault::Malformed)?;
            let executable = u32_at(entry, 4)? & PF_X != 0;
            match u32_at(entry, 0)? {
                PT_LOAD => self.segments.push(Load { range, file_offset, file_size, executable }),
                PT_NOTE => notes.push(file_offset..file_offset.saturating_add(file_size)),
                _ => {}
            }
        }
        Ok(notes)
    }

    fn read_sections(&mut self, source: &dyn ReadAt, header: &[u8]) -> Result<(), Fault> {
        let (offset, count) = (u64_at(header, 40)?, u64::from(u16_at(header, 60)?));
        let names_index = usize::from(u16_at(header, 62)?);
        if offset == 0 || count == 0 {
            return Ok(()); // stripped of its section headers: a segment may still hold the build id
        }
        if usize::from(u16_at(header, 58)?) != SECTION_HEADER_SIZE {
            return Err(Fault::Malformed);
        }
        let size = count * SECTION_HEADER_SIZE as u64;
        let table = read(source, offset, size, MOST_SECTIONS * SECTION_HEADER_SIZE as u64)?;
        let mut name_offsets = Vec::new();
        for entry in table.chunks_exact(SECTION_HEADER_SIZE) {
            let (kind, flags) = (u32_at(entry, 4)?, u64_at(entry, 8)?);
            let (address, start, size) = (u64_at(entry, 16)?, u64_at(entry, 24)?, u64_at(entry, 32)?);
            let (end_address, file) = (address.saturating_add(size), start..start.saturating_add(size));
            let link = u32_at(entry, 40)? as usize;
            name_offsets.push(u32_at(entry, 0)? as usize);
            self.sections.push(Section { name: Box::default(), kind, flags, file, end_address, link });
        }
        let names = self.sections.get(names_index).ok_or(Fault::Malformed)?.file.clone();
        let names = read(source, names.start, names.end - names.start, LONGEST_SECTION_NAMES)?;
        for (section, offset) in self.sections.iter_mut().zip(name_offsets) {
            let name = names.get(offset..).unwrap_or_default();
            section.name = name.split(|byte| *byte == 0).next().unwrap_or_default().into();
        }
        Ok(())
    }
}

impl Section {
    /// How many bytes of it are in the file.
    pub(super) fn size(&self) -> u64 {
        self.file.end - self.file.start
    }

    fn has_contents(&self) -> bool {
        self.kind != SHT_NOBITS && self.kind != SHT_NULL && self.size() > 0
    }
}

/// The little of a number's place in a header that can go wrong: the header is too short.
fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Fault> {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or(Fault::Truncated)
}

/// The `u16` at `at`.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> Result<u16, Fault> {
    array(bytes, at).map(u16::from_ne_bytes)
}

/// The `u32` at `at`.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Result<u32, Fault> {
    array(bytes, at).map(u32::from_ne_bytes)
}

/// The `u64` at `at`.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> Result<u64, Fault> {
    array(bytes, at).map(u64::from_ne_bytes)
}

/// The GNU build id among the notes at `place`: (name size, descriptor size, type, name, descriptor), each padded
/// to four bytes. (Notes padded to eight bytes exist, but never hold a build id.)
fn build_id(source: &dyn ReadAt, place: &Range<u64>) -> Option<Box<[u8]>> {
    let notes = read(source, place.start, place.end - place.start, LONGEST_NOTES).ok()?;
    let mut rest = notes.as_slice();
    loop {
        let name_size = u32_at(rest, 0).ok()? as usize;
        let descriptor_size = u32_at(rest, 4).ok()? as usize;
        let kind = u32_at(rest, 8).ok()?;
        let descriptor_at = 12_usize.checked_add(name_size.checked_next_multiple_of(4)?)?;
        let descriptor = rest.get(descriptor_at..)?.get(..descriptor_size)?;
        if kind == NT_GNU_BUILD_ID && rest.get(12..)?.get(..name_size)? == b"GNU\0" && descriptor_size > 0 {
            return Some(descriptor.into());
        }
        rest = rest.get(descriptor_at..)?.get(descriptor_size.checked_next_multiple_of(4)?..)?;
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "it cannot be read",
            Self::Truncated => "it is truncated",
            Self::NotElf => "it is not an ELF file of this machine",
            Self::Malformed => "it is malformed",
            Self::TooLarge => "it is too large",
            Self::Compression => "it is compressed in a way that is not supported",
            Self::Absent => "there is none",
        })
    }
}
