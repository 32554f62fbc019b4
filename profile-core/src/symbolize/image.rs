//! The file of a module, opened and proven to be the one that is mapped.
//!
//! The proof is the GNU build id: the linker's hash over the whole file, which is in the mapped image as well. A
//! module without one is compared with its file by its code: the same program headers, and every executable byte the
//! same as in memory (which is read through the kernel, so that an unmapped address is an error and not a fault).
//! `/proc/self/exe` needs no proof: it is the running file by definition, even when its name has been given to
//! another file or to none.
//!
//! What is missing in the file (a stripped binary) may be in a separate debug file with the same build id: under
//! `.build-id/xx/rest.debug` in the debug directory, or where the section `.gnu_debuglink` says. See the chapter
//! "Separate Debug Files" of the GDB manual.

use super::bytes::{FileIdentity, ProcessMemory, ReadAt, RegularFile, read_string};
use super::elf::{Elf, Fault, SHT_SYMTAB};
use crate::modules::Module;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// An open ELF file that is proven to be that of a module.
pub(super) struct Image {
    /// Its bytes.
    pub(super) source: Box<dyn ReadAt>,
    /// Its headers.
    pub(super) elf: Elf,
    /// What it was when it was opened; none for memory.
    pub(super) identity: Option<FileIdentity>,
}

/// Why a module has no image.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The module has no file: generated code, for example.
    NoFile,
    /// The file cannot be opened.
    Open(io::ErrorKind),
    /// The file cannot be used.
    Unusable(Fault),
    /// The file is another build than the one mapped.
    OtherBuild,
    /// Neither has a build id, and the code could not be compared.
    NotProven,
}

/// The running executable, under whatever name.
const SELF: &str = "/proc/self/exe";
/// How much code of a module without build id is compared; larger modules are not used.
const MOST_CODE: u64 = 16 << 20;
/// The vdso is two pages; an image in memory larger than this is not one.
const LARGEST_VDSO: u64 = 64 << 10;
const PAGE: u64 = 4096;

impl Image {
    /// Opens the file of `module`, or says why it cannot be used.
    pub(super) fn open(module: &Module) -> Result<Self, Refusal> {
        if &*module.path == "[vdso]" {
            return Self::open_vdso(module);
        }
        if module.path.is_empty() || module.path.starts_with('[') {
            return Err(Refusal::NoFile);
        }
        let path = Path::new(&*module.path);
        if is_running_executable(path)
            && let Ok(image) = Self::open_path(Path::new(SELF))
            && (module.build_id.is_none() || image.has_build_id_of(module))
        {
            return Ok(image);
        }
        let refusal = match Self::open_path(path).and_then(|image| image.proven(module)) {
            Ok(image) => return Ok(image),
            Err(refusal) => refusal,
        };
        // The executable under a name that the kernel does not know (another root directory, or renamed).
        match Self::open_path(Path::new(SELF)) {
            Ok(image) if module.build_id.is_some() && image.has_build_id_of(module) => Ok(image),
            _ => Err(refusal),
        }
    }

    /// The separate debug file of this image, if it has one and lacks something itself.
    pub(super) fn open_debug_file(&self, module: &Module, directory: &Path) -> Option<Self> {
        if self.elf.section(".debug_info").is_some() && self.elf.linked(SHT_SYMTAB).is_some() {
            return None;
        }
        let same_build =
            |path: PathBuf| Self::open_path(&path).ok().filter(|file| file.has_build_id_of(module));
        self.debug_file_names(module, directory).into_iter().find_map(same_build)
    }

    fn open_path(path: &Path) -> Result<Self, Refusal> {
        let file = RegularFile::open(path).map_err(|error| Refusal::Open(error.kind()))?;
        let identity = file.identity();
        let elf = Elf::parse(&file).map_err(Refusal::Unusable)?;
        Ok(Self { source: Box::new(file), elf, identity })
    }

    /// The vdso has no file, but all of it is in memory, section headers included.
    fn open_vdso(module: &Module) -> Result<Self, Refusal> {
        let start = module.segments.first().map_or(module.text.start, |segment| segment.range.start);
        let end = module.segments.last().map_or(module.text.end, |segment| segment.range.end);
        let end = end.checked_next_multiple_of(PAGE).filter(|end| end.saturating_sub(start) <= LARGEST_VDSO);
        let memory = ProcessMemory::open(start..end.ok_or(Refusal::NoFile)?);
        let memory = memory.map_err(|error| Refusal::Open(error.kind()))?;
        let elf = Elf::parse(&memory).map_err(Refusal::Unusable)?;
        Ok(Self { source: Box::new(memory), elf, identity: None })
    }

    fn has_build_id_of(&self, module: &Module) -> bool {
        module.build_id.as_ref().map(|id| &id.0) == self.elf.build_id.as_ref() && module.build_id.is_some()
    }

    fn proven(self, module: &Module) -> Result<Self, Refusal> {
        if self.has_build_id_of(module) {
            return Ok(self);
        }
        if module.build_id.is_some() || self.elf.build_id.is_some() {
            return Err(Refusal::OtherBuild);
        }
        self.compare_code(module).map(|()| self)
    }

    fn compare_code(&self, module: &Module) -> Result<(), Refusal> {
        let segments = &self.elf.segments;
        let same_places = segments.len() == module.segments.len()
            && segments.iter().zip(&module.segments).all(|(here, mapped)| {
                here.range.start.wrapping_add(module.bias) == mapped.range.start
                    && here.file_offset == mapped.file_offset
                    && here.executable == mapped.executable
            });
        if !same_places {
            return Err(Refusal::OtherBuild);
        }
        let code = || segments.iter().filter(|segment| segment.executable);
        if code().map(|segment| segment.file_size).fold(0, u64::saturating_add) > MOST_CODE {
            return Err(Refusal::NotProven);
        }
        let (mut here, mut mapped) = (vec![0; 64 << 10], vec![0; 64 << 10]);
        for segment in code() {
            let start = segment.range.start.wrapping_add(module.bias);
            let range = start..start.checked_add(segment.file_size).ok_or(Refusal::NotProven)?;
            let memory = ProcessMemory::open(range).map_err(|_| Refusal::NotProven)?;
            for at in (0..segment.file_size).step_by(here.len()) {
                let size = (segment.file_size - at).min(here.len() as u64) as usize;
                let (Some(here), Some(mapped)) = (here.get_mut(..size), mapped.get_mut(..size)) else {
                    continue;
                };
                memory.read_exact_at(at, mapped).map_err(|_| Refusal::NotProven)?;
                let place = segment.file_offset.saturating_add(at);
                self.source.read_exact_at(place, here).map_err(|_| Refusal::OtherBuild)?;
                if here != mapped {
                    return Err(Refusal::OtherBuild);
                }
            }
        }
        Ok(())
    }

    fn debug_file_names(&self, module: &Module, directory: &Path) -> Vec<PathBuf> {
        let mut names = Vec::new();
        let id = module.build_id.as_ref().map(ToString::to_string).unwrap_or_default();
        if let Some((head, rest)) = id.split_at_checked(2).filter(|(_, rest)| !rest.is_empty()) {
            names.push(directory.join(".build-id").join(head).join(format!("{rest}.debug")));
        }
        let parent = Path::new(&*module.path).parent();
        if let (Some(link), Some(parent)) = (self.debug_link(), parent) {
            names.push(parent.join(&link));
            names.push(parent.join(".debug").join(&link));
            names.push(directory.join(parent.strip_prefix("/").unwrap_or(parent)).join(&link));
        }
        names
    }

    /// The file name in `.gnu_debuglink`. (The checksum behind it is not needed: the build id says more.)
    fn debug_link(&self) -> Option<String> {
        let section = self.elf.section(".gnu_debuglink")?;
        let name = read_string(&*self.source, &section.file, 0).ok()?;
        let name = String::from_utf8(name).ok()?;
        (!name.is_empty() && !name.contains('/') && name != "..").then_some(name)
    }
}

/// Whether `path` is, or was, the name of the file this process runs.
fn is_running_executable(path: &Path) -> bool {
    let Ok(link) = std::fs::read_link(SELF) else { return false };
    let link = link.to_string_lossy();
    let name = link.strip_suffix(" (deleted)").unwrap_or(&link);
    path == Path::new(name) || path == Path::new(&*link)
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFile => f.write_str("it has no file"),
            Self::Open(kind) => write!(f, "its file cannot be opened ({kind})"),
            Self::Unusable(fault) => write!(f, "its file cannot be used: {fault}"),
            Self::OtherBuild => f.write_str("the file on disk is not the one that is mapped"),
            Self::NotProven => {
                f.write_str("it has no build id and its code cannot be compared with the file")
            }
        }
    }
}
