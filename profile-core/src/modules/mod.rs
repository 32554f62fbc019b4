//! The loaded modules of the process: the executable, its shared libraries and the vdso.
//!
//! A module is an *instance*: a library that is closed and opened again is a new module with a new [`ModuleId`],
//! even at the very same address. Everything that is cached by address is cached by (module instance, offset).

mod instances;

pub(crate) use instances::{LoadedObject, list};

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Identifies one loaded instance of a module for as long as the process lives; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModuleId(pub u32);

/// The contents of a GNU build id note, normally 20 bytes. Displays as lowercase hex.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct BuildId(pub Box<[u8]>);

/// One loaded instance of an ELF module. All addresses are those of this process.
#[derive(Clone, Debug)]
pub struct Module {
    /// Which instance this is.
    pub id: ModuleId,
    /// The file it was loaded from, as the dynamic linker names it; `/proc/self/exe` resolved for the executable,
    /// `[vdso]` for the vdso.
    pub path: Arc<str>,
    /// The GNU build id read from the *mapped* image.
    pub build_id: Option<BuildId>,
    /// What is added to an address of the file to get one of the process (`dlpi_addr`).
    pub bias: u64,
    /// From the first to the last executable byte.
    pub text: Range<u64>,
    /// Where `text` starts in the file.
    pub text_file_offset: u64,
    /// The segments (`PT_LOAD`), in address order.
    pub segments: Vec<Segment>,
    /// The mapped `.eh_frame_hdr` (`PT_GNU_EH_FRAME`), if there is one.
    pub eh_frame_hdr: Option<Range<u64>>,
}

/// One `PT_LOAD` segment of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its addresses in this process.
    pub range: Range<u64>,
    /// Where it starts in the file.
    pub file_offset: u64,
    /// Whether it is executable.
    pub executable: bool,
}

/// All modules at one moment, in order of address.
#[derive(Clone, Debug, Default)]
pub struct ModuleList {
    /// Counts the changes seen so far: two lists with one generation are the same.
    pub generation: u32,
    /// The modules, sorted by the start of their text; texts do not overlap.
    pub modules: Vec<Arc<Module>>,
    /// What the loader had counted when the list was made.
    pub counts: LoaderCounts,
}

/// How many objects the dynamic loader has loaded and unloaded since the process began. As long as both stand still, so
/// does the list of modules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoaderCounts {
    /// Objects loaded (`dlpi_adds`).
    pub loaded: u64,
    /// Objects unloaded (`dlpi_subs`).
    pub unloaded: u64,
}

impl ModuleList {
    /// The module whose text holds `address`.
    #[must_use]
    pub fn find(&self, address: u64) -> Option<&Arc<Module>> {
        let after = self.modules.partition_point(|module| module.text.start <= address);
        let module = self.modules.get(after.checked_sub(1)?)?;
        module.text.contains(&address).then_some(module)
    }
}

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BuildId({self})")
    }
}
