//! The loaded modules, as `dl_iterate_phdr(3)` shows them.
//!
//! The callback runs under the loader's lock: nothing can be unloaded while it looks. So all that is needed from a
//! module's memory is read or copied there, and only from ranges that its own readable segments cover.
#![allow(unsafe_code)] // part of the door `sys`

use super::process;
use crate::modules::{BuildId, LoadedObject, LoaderCounts, Module, ModuleId, ModuleList, Segment, list};
use libc::{dl_phdr_info, size_t};
use object::elf::{ELF_NOTE_GNU, NT_GNU_BUILD_ID};
use object::read::elf::{FileHeader, NoteIterator};
use std::ffi::{CStr, c_int, c_void};
use std::mem::offset_of;
use std::ops::Range;
use std::path::Path;
use std::slice;
use std::sync::atomic::{AtomicU32, Ordering};

type ElfHeader = object::elf::FileHeader64<object::NativeEndian>;
type ElfProgramHeader = object::elf::ProgramHeader64<object::NativeEndian>;

/// The loader's counts now: 1 µs, for a look whether a [`snapshot`] is due.
pub(crate) fn changes() -> LoaderCounts {
    let mut counts = LoaderCounts::default();
    iterate(&mut |mapped| {
        counts = mapped.counts;
        Continue::Stop
    });
    counts
}

/// Every loaded object with executable code. Those of `previous` that still stand keep their `Arc` and id.
pub(crate) fn snapshot(previous: &ModuleList) -> ModuleList {
    static LAST_ID: AtomicU32 = AtomicU32::new(0);
    let vdso = vdso_address();
    let mut objects = Vec::new();
    let mut counts = LoaderCounts::default();
    let mut index = 0;
    iterate(&mut |mapped| {
        counts = mapped.counts;
        objects.extend(mapped.describe(index == 0, vdso));
        index += 1;
        Continue::Yes
    });
    // Statically linked programs may have a vdso that their loader does not list.
    if !objects.iter().any(|object| object.path.as_ref() == VDSO) {
        let unlisted = vdso.and_then(|address| Mapped::from_header(address)?.describe(false, vdso));
        let after_executable = objects.len().min(1);
        objects.splice(after_executable..after_executable, unlisted);
    }
    list(objects, counts, previous, || ModuleId(LAST_ID.fetch_add(1, Ordering::Relaxed)))
}

/// Whether the module stays for as long as the process lives: the vdso and the dynamic loader. (The executable too, but
/// it is loaded before them.)
pub(crate) fn is_permanent(module: &Module) -> bool {
    // SAFETY: `getauxval` has no preconditions.
    let loader = unsafe { libc::getauxval(libc::AT_BASE) };
    module.path.as_ref() == VDSO || (loader != 0 && module.bias == loader)
}

/// Shows the mapped image of `module` to `look`, which cannot be unloaded meanwhile; `None` if it is not loaded any more.
///
/// `look` runs under the loader's lock: it should copy what it needs and return.
pub(crate) fn with_mapped<T>(module: &Module, look: impl FnOnce(&Mapped<'_>) -> T) -> Option<T> {
    let vdso = vdso_address();
    if module.path.as_ref() == VDSO {
        return Mapped::from_header(vdso?).map(|mapped| look(&mapped)); // never unloaded: needs no lock
    }
    let (mut look, mut seen, mut index) = (Some(look), None, 0);
    iterate(&mut |mapped| {
        let described = if mapped.bias == module.bias { mapped.describe(index == 0, vdso) } else { None };
        index += 1;
        if described.is_some_and(|described| described.is(module)) {
            seen = look.take().map(|look| look(&mapped));
            return Continue::Stop;
        }
        Continue::Yes
    });
    seen
}

const VDSO: &str = "[vdso]";

/// Whether the iteration goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Continue {
    Yes,
    Stop,
}

type Visitor<'a> = &'a mut dyn FnMut(Mapped<'_>) -> Continue;

/// Shows every loaded object to `visit`, in order of loading, under the loader's lock.
fn iterate(mut visit: Visitor<'_>) {
    /// Called by the C library. It must not unwind, and nothing in it panics.
    unsafe extern "C" fn callback(info: *mut dl_phdr_info, size: size_t, data: *mut c_void) -> c_int {
        // SAFETY: `data` is the `visit` of the call below, which is on the stack until that call returns.
        let visit = unsafe { &mut *data.cast::<Visitor<'_>>() };
        // SAFETY: the loader passes a description of `size` bytes that is valid, with all it points to, until we return.
        let mapped = unsafe { Mapped::from_info(info, size) };
        c_int::from(mapped.is_some_and(|mapped| visit(mapped) == Continue::Stop))
    }
    // The loader's lock, which the callback runs under, would stay locked in a child that is forked meanwhile.
    process::without_forks(|| {
        // SAFETY: the callback has the right type, and `data` outlives the call.
        unsafe { libc::dl_iterate_phdr(Some(callback), (&raw mut visit).cast()) };
    });
}

/// The mapped image of a loaded object. While it is borrowed, its segments stay mapped.
pub(crate) struct Mapped<'a> {
    bias: u64,
    name: &'a CStr,
    headers: &'a [libc::Elf64_Phdr],
    counts: LoaderCounts,
}

impl<'a> Mapped<'a> {
    /// # Safety
    ///
    /// `info` points to `size` bytes of a `dl_phdr_info`, which is valid with all it points to for `'a`, as are the
    /// object's segments.
    unsafe fn from_info(info: *const dl_phdr_info, size: size_t) -> Option<Self> {
        if size < offset_of!(dl_phdr_info, dlpi_phnum) + size_of::<libc::Elf64_Half>() {
            return None;
        }
        // SAFETY: the fields up to `dlpi_phnum` lie within `size`; the pointers are valid as the caller promises. The
        // fields are read one by one, because an old C library passes a shorter structure.
        unsafe {
            let (name, headers, count) = ((*info).dlpi_name, (*info).dlpi_phdr, (*info).dlpi_phnum);
            let mut counts = LoaderCounts::default();
            if size >= offset_of!(dl_phdr_info, dlpi_subs) + size_of::<u64>() {
                counts = LoaderCounts { loaded: (*info).dlpi_adds, unloaded: (*info).dlpi_subs };
            }
            let name = if name.is_null() { c"" } else { CStr::from_ptr(name) };
            let headers =
                if headers.is_null() { &[] } else { slice::from_raw_parts(headers, usize::from(count)) };
            Some(Self { bias: (*info).dlpi_addr, name, headers, counts })
        }
    }

    /// The object whose ELF header is mapped at `address`, for the vdso.
    fn from_header(address: u64) -> Option<Mapped<'static>> {
        // SAFETY: the kernel maps the vdso, at least one page of it, at the address that it gives in the auxiliary
        // vector (our only caller's source), and never unmaps it.
        let page: &'static [u8] = unsafe { slice::from_raw_parts(address as *const u8, 4096) };
        let found = program_headers(page)?;
        // SAFETY: libc's type describes an ELF program header field by field in the layout of `found`, a slice in the
        // mapped page; the assertion below holds them to the same size, and the alignment is checked.
        let headers = found.as_ptr().cast::<libc::Elf64_Phdr>();
        if !headers.is_aligned() {
            return None;
        }
        // SAFETY: see above.
        let headers = unsafe { slice::from_raw_parts(headers, found.len()) };
        let first = headers.iter().find(|header| header.p_type == libc::PT_LOAD)?;
        let bias = address.wrapping_sub(first.p_vaddr);
        Some(Mapped { bias, name: c"", headers, counts: LoaderCounts::default() })
    }

    /// What a module is known by; `None` for objects without code.
    fn describe(&self, is_executable: bool, vdso: Option<u64>) -> Option<LoadedObject> {
        let mut segments: Vec<Segment> = self
            .of_type(libc::PT_LOAD)
            .map(|header| Segment {
                range: self.range(header),
                file_offset: header.p_offset,
                executable: header.p_flags & libc::PF_X != 0,
            })
            .collect();
        segments.sort_by_key(|segment| segment.range.start);
        let mut code = segments.iter().filter(|segment| segment.executable && !segment.range.is_empty());
        let first = code.next()?;
        let last = code.next_back().unwrap_or(first);
        let text = first.range.start..last.range.end.max(first.range.end);
        let text_file_offset = first.file_offset;
        let is_vdso = vdso.is_some_and(|vdso| segments.iter().any(|segment| segment.range.contains(&vdso)));
        Some(LoadedObject {
            path: self.path(is_executable, is_vdso).into(),
            build_id: self
                .of_type(libc::PT_NOTE)
                .find_map(|notes| build_id(self.bytes(self.range(notes))?, notes.p_align)),
            bias: self.bias,
            text,
            text_file_offset,
            eh_frame_hdr: self.of_type(libc::PT_GNU_EH_FRAME).next().map(|header| self.range(header)),
            segments,
            permanent: is_executable || is_vdso,
        })
    }

    fn of_type(&self, kind: u32) -> impl Iterator<Item = &'a libc::Elf64_Phdr> + use<'a> {
        self.headers.iter().filter(move |header| header.p_type == kind)
    }

    /// The addresses of a program header in this process.
    fn range(&self, header: &libc::Elf64_Phdr) -> Range<u64> {
        let start = self.bias.wrapping_add(header.p_vaddr);
        start..start.saturating_add(header.p_memsz)
    }

    fn path(&self, is_executable: bool, is_vdso: bool) -> String {
        match self.name.to_string_lossy() {
            _ if is_vdso => VDSO.to_owned(),
            name if name.is_empty() && is_executable => executable_path(),
            name => name.into_owned(),
        }
    }

    /// The memory from `address` to the end of its segment, if that is readable.
    pub(crate) fn from(&self, address: u64) -> Option<&'a [u8]> {
        let mut segments = self.of_type(libc::PT_LOAD).map(|load| self.range(load));
        let segment = segments.find(|segment| segment.contains(&address))?;
        self.bytes(address..segment.end)
    }

    /// The memory in `range`, if one readable segment covers it.
    pub(crate) fn bytes(&self, range: Range<u64>) -> Option<&'a [u8]> {
        let covered = self.of_type(libc::PT_LOAD).any(|load| {
            let segment = self.range(load);
            load.p_flags & libc::PF_R != 0 && segment.start <= range.start && range.end <= segment.end
        });
        let length = usize::try_from(range.end.checked_sub(range.start)?).ok()?;
        // SAFETY: a readable segment of the object covers the range and stays mapped for `'a`. What is read here (notes
        // and call frame information) is constant after relocation, so nobody writes to it meanwhile.
        covered.then(|| unsafe { slice::from_raw_parts(range.start as *const u8, length) })
    }
}

const _: () = assert!(size_of::<libc::Elf64_Phdr>() == size_of::<ElfProgramHeader>());

/// The program headers in the first page of a mapped ELF file.
pub(crate) fn program_headers(page: &[u8]) -> Option<&[ElfProgramHeader]> {
    ElfHeader::parse(page).ok()?.program_headers(object::NativeEndian, page).ok()
}

/// The GNU build id among `notes`.
pub(crate) fn build_id(notes: &[u8], alignment: u64) -> Option<BuildId> {
    let mut notes = NoteIterator::<ElfHeader>::new(object::NativeEndian, alignment, notes).ok()?;
    while let Some(note) = notes.next().ok()? {
        if note.name() == ELF_NOTE_GNU && note.n_type(object::NativeEndian) == NT_GNU_BUILD_ID {
            return Some(BuildId(note.desc().into()));
        }
    }
    None
}

fn vdso_address() -> Option<u64> {
    // SAFETY: `getauxval` has no preconditions.
    match unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) } {
        0 => None,
        address => Some(address),
    }
}

/// The file of the executable. If it was deleted or replaced since, the kernel says so behind the name.
fn executable_path() -> String {
    let Ok(target) = std::fs::read_link("/proc/self/exe") else { return String::new() };
    let path = target.to_string_lossy();
    match path.strip_suffix(" (deleted)") {
        Some(former) if !Path::new(path.as_ref()).exists() => former.to_owned(),
        _ => path.into_owned(),
    }
}
