//! The debug sections of an image in memory, and the strings, which stay in the file.

use crate::symbolize::bytes::{ReadAt, read, read_string};
use crate::symbolize::elf::{Elf, Fault, SHF_COMPRESSED, Section, u32_at, u64_at};
use crate::symbolize::image::Image;
use flate2::read::ZlibDecoder;
use gimli::{AttributeValue, Dwarf, EndianArcSlice, NativeEndian, Reader, SectionId, Unit};
use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

/// How debug sections are read.
pub(super) type R = EndianArcSlice<NativeEndian>;

/// The sections that lookups need.
pub(super) struct Sections {
    /// All but the strings.
    pub(super) dwarf: Dwarf<R>,
    strings: Strings,
    line_strings: Strings,
    /// What they take, in bytes.
    pub(super) memory: u64,
}

/// A section of strings.
enum Strings {
    /// Its place in the file.
    InFile(Range<u64>),
    /// A compressed one has to be unpacked whole.
    Unpacked(Vec<u8>),
}

/// What is loaded whole. Not in it: variables, types of their own, macros, and indexes that we build ourselves.
const LOADED: [SectionId; 7] = [
    SectionId::DebugAbbrev,
    SectionId::DebugAddr,
    SectionId::DebugInfo,
    SectionId::DebugLine,
    SectionId::DebugRanges,
    SectionId::DebugRngLists,
    SectionId::DebugStrOffsets,
];
const STRINGS: [SectionId; 2] = [SectionId::DebugStr, SectionId::DebugLineStr];
/// `Elf64_Chdr::ch_type`.
const ELFCOMPRESS_ZLIB: u32 = 1;
/// `Elf64_Chdr`: type, padding, unpacked size, alignment.
const COMPRESSION_HEADER_SIZE: u64 = 24;

impl Sections {
    /// How many bytes of memory the sections take; none if there is no `.debug_info`.
    pub(super) fn needs(image: &Image) -> Option<Result<u64, Fault>> {
        image.elf.section(SectionId::DebugInfo.name())?;
        let loaded = LOADED.iter().filter_map(|id| image.elf.section(id.name()));
        let packed = |section: &&Section| section.flags & SHF_COMPRESSED != 0;
        let strings = STRINGS.iter().filter_map(|id| image.elf.section(id.name())).filter(packed);
        let size = |section| unpacked_size(&*image.source, section);
        Some(loaded.chain(strings).try_fold(0_u64, |sum, section| Ok(sum.saturating_add(size(section)?))))
    }

    /// Loads the sections if they take at most `limit` bytes.
    pub(super) fn load(image: &Image, limit: u64) -> Result<Self, Fault> {
        let memory = Self::needs(image).ok_or(Fault::Absent)??;
        if memory > limit {
            return Err(Fault::TooLarge);
        }
        let section = |id: SectionId| {
            let wanted = image.elf.section(id.name()).filter(|_| LOADED.contains(&id));
            let bytes = wanted.map_or_else(|| Ok(Arc::default()), |section| load(&*image.source, section));
            bytes.map(|bytes| EndianArcSlice::new(bytes, NativeEndian))
        };
        Ok(Self {
            dwarf: Dwarf::load(section)?,
            strings: Strings::open(&*image.source, &image.elf, SectionId::DebugStr)?,
            line_strings: Strings::open(&*image.source, &image.elf, SectionId::DebugLineStr)?,
            memory,
        })
    }

    /// The text that an attribute of `unit` holds or points to.
    pub(super) fn text(&self, image: &Image, unit: &Unit<R>, value: &AttributeValue<R>) -> Option<String> {
        let bytes = match value {
            AttributeValue::String(text) => text.to_slice().ok()?.into_owned(),
            AttributeValue::DebugStrRef(offset) => self.strings.get(image, offset.0)?,
            AttributeValue::DebugLineStrRef(offset) => self.line_strings.get(image, offset.0)?,
            AttributeValue::DebugStrOffsetsIndex(index) => {
                self.strings.get(image, self.dwarf.string_offset(unit, *index).ok()?.0)?
            }
            _ => return None,
        };
        Some(String::from_utf8_lossy(&bytes).into_owned()).filter(|text| !text.is_empty())
    }

    /// The path of a file of `unit`, absolute as far as the compiler recorded it: the directory of the compilation,
    /// directory, file.
    pub(super) fn path(&self, image: &Image, unit: &Unit<R>, file: u32) -> Option<String> {
        let header = unit.line_program.as_ref()?.header();
        let file = header.file(file.into())?;
        let mut path = match unit_directory(unit) {
            Some(directory) => self.text(image, unit, &directory).unwrap_or_default(),
            None => String::new(),
        };
        if file.directory_index() != 0
            && let Some(directory) = file.directory(header)
        {
            push(&mut path, &self.text(image, unit, &directory).unwrap_or_default());
        }
        push(&mut path, &self.text(image, unit, &file.path_name())?);
        Some(path)
    }
}

impl Strings {
    fn open(source: &dyn ReadAt, elf: &Elf, id: SectionId) -> Result<Self, Fault> {
        Ok(match elf.section(id.name()) {
            Some(section) if section.flags & SHF_COMPRESSED != 0 => {
                let mut bytes = vec![0; unpacked_len(source, section)?];
                unpack(source, section, &mut bytes)?;
                Self::Unpacked(bytes)
            }
            Some(section) => Self::InFile(section.file.clone()),
            None => Self::Unpacked(Vec::new()),
        })
    }

    fn get(&self, image: &Image, offset: usize) -> Option<Vec<u8>> {
        match self {
            Self::InFile(place) => read_string(&*image.source, place, offset as u64),
            Self::Unpacked(bytes) => read_string(bytes, &(0..bytes.len() as u64), offset as u64),
        }
        .ok()
    }
}

/// Appends `part` to `path`, or replaces it if `part` is absolute.
fn push(path: &mut String, part: &str) {
    if part.starts_with('/') {
        path.clear();
    } else if !path.is_empty() && !path.ends_with('/') {
        path.push('/');
    }
    path.push_str(part);
}

/// The directory that the unit was compiled in.
fn unit_directory(unit: &Unit<R>) -> Option<AttributeValue<R>> {
    let mut entries = unit.entries();
    entries.next_dfs().ok()?;
    entries.current()?.attr_value(gimli::DW_AT_comp_dir)
}

fn load(source: &dyn ReadAt, section: &Section) -> Result<Arc<[u8]>, Fault> {
    let mut bytes: Arc<[u8]> = std::iter::repeat_n(0, unpacked_len(source, section)?).collect();
    let buffer = Arc::get_mut(&mut bytes).ok_or(Fault::Read)?;
    if section.flags & SHF_COMPRESSED != 0 {
        unpack(source, section, buffer)?;
    } else {
        source.read_exact_at(section.file.start, buffer).map_err(|_| Fault::Read)?;
    }
    Ok(bytes)
}

fn unpacked_len(source: &dyn ReadAt, section: &Section) -> Result<usize, Fault> {
    usize::try_from(unpacked_size(source, section)?).map_err(|_| Fault::TooLarge)
}

fn unpacked_size(source: &dyn ReadAt, section: &Section) -> Result<u64, Fault> {
    if section.file.end > source.size() {
        return Err(Fault::Truncated);
    }
    if section.flags & SHF_COMPRESSED == 0 {
        return Ok(section.size());
    }
    let header = read(source, section.file.start, COMPRESSION_HEADER_SIZE, section.size())?;
    if u32_at(&header, 0)? != ELFCOMPRESS_ZLIB {
        return Err(Fault::Compression);
    }
    u64_at(&header, 8)
}

fn unpack(source: &dyn ReadAt, section: &Section, buffer: &mut [u8]) -> Result<(), Fault> {
    let packed = Packed { source, rest: section.file.start + COMPRESSION_HEADER_SIZE..section.file.end };
    ZlibDecoder::new(packed).read_exact(buffer).map_err(|_| Fault::Malformed)
}

/// A part of a file, read from front to back.
struct Packed<'a> {
    source: &'a dyn ReadAt,
    rest: Range<u64>,
}

impl Read for Packed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.rest.end.saturating_sub(self.rest.start);
        let size = rest.min(buffer.len() as u64) as usize;
        let part = buffer.get_mut(..size).unwrap_or_default();
        self.source.read_exact_at(self.rest.start, part)?;
        self.rest.start += size as u64;
        Ok(size)
    }
}
