//! What the tests of symbolising share: the modules of this very process, read from the kernel's list of mappings and
//! from the files by an independent ELF reader.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // Helpers of tests, outside of test functions.
#![allow(dead_code, unreachable_pub, clippy::missing_panics_doc)] // each test file uses its part

pub use profile_test_support::skip;

use gimli::{EndianSlice, NativeEndian};
use object::{Object, ObjectSection, ObjectSegment, SegmentFlags, elf};
use profile_core::modules::{BuildId, Module, ModuleId, Segment};
use profile_core::symbolize::{NativeSymbolizer, SourceFrame, Symbolizer};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// One line of `/proc/self/maps`.
#[derive(Clone, Debug)]
pub struct Mapping {
    pub range: Range<u64>,
    pub file_offset: u64,
    pub path: String,
}

pub fn mappings() -> Vec<Mapping> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let hex = |text: &str| u64::from_str_radix(text, 16).unwrap();
    let parse = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next().unwrap().split_once('-').unwrap();
        let file_offset = hex(fields.nth(1).unwrap());
        let path = fields.nth(2).unwrap_or_default().to_owned();
        Mapping { range: hex(start)..hex(end), file_offset, path }
    };
    maps.lines().map(parse).collect()
}

/// The module that holds `address`, as instance `id`.
pub fn module_at(address: u64, id: u32) -> Module {
    let mappings = mappings();
    let mapping = mappings.iter().find(|mapping| mapping.range.contains(&address)).unwrap();
    let first = mappings.iter().find(|other| other.path == mapping.path && other.file_offset == 0).unwrap();
    let image =
        if mapping.path == "[vdso]" { memory(&mapping.range) } else { fs::read(&mapping.path).unwrap() };
    module_of_image(&image, &mapping.path, first.range.start, id)
}

/// A module for the ELF file in `image`, mapped at `start`.
pub fn module_of_image(image: &[u8], path: &str, start: u64, id: u32) -> Module {
    let file = object::read::elf::ElfFile64::<object::Endianness>::parse(image).unwrap();
    let lowest = file.segments().map(|segment| segment.address()).min().unwrap() & !0xfff;
    let bias = start.wrapping_sub(lowest);
    let segments: Vec<Segment> = file
        .segments()
        .map(|segment| Segment {
            range: segment.address().wrapping_add(bias)..(segment.address() + segment.size()).wrapping_add(bias),
            file_offset: segment.file_range().0,
            executable: matches!(segment.flags(), SegmentFlags::Elf { p_flags, .. } if p_flags & elf::PF_X == elf::PF_X),
        })
        .collect();
    let code = || segments.iter().filter(|segment| segment.executable);
    let text = code().next().unwrap().range.start..code().next_back().unwrap().range.end;
    let text_file_offset = code().next().unwrap().file_offset;
    Module {
        id: ModuleId(id),
        path: path.into(),
        build_id: file.build_id().unwrap().map(|id| BuildId(id.into())),
        bias,
        text,
        text_file_offset,
        segments,
        eh_frame_hdr: None,
    }
}

fn memory(range: &Range<u64>) -> Vec<u8> {
    use std::os::unix::fs::FileExt;
    let mut bytes = vec![0; (range.end - range.start) as usize];
    fs::File::open("/proc/self/mem").unwrap().read_exact_at(&mut bytes, range.start).unwrap();
    bytes
}

/// This test's own program.
pub fn own_path() -> PathBuf {
    fs::read_link("/proc/self/exe").unwrap()
}

/// The same module with another file.
pub fn with_path(module: &Module, path: &Path) -> Arc<Module> {
    Arc::new(Module { path: path.to_str().unwrap().into(), ..module.clone() })
}

pub fn frames(symbolizer: &mut NativeSymbolizer, module: &Arc<Module>, address: u64) -> Vec<SourceFrame> {
    symbolizer.symbolize(module, address).to_vec()
}

/// The output of a tool, or none, said aloud, if it is not installed.
pub fn tool(name: &str, arguments: &[&str]) -> Option<String> {
    match Command::new(name).args(arguments).output() {
        Ok(output) => {
            assert!(
                output.status.success(),
                "{name} {arguments:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Err(_) => {
            skip::skip("an oracle of the symbolizer", &format!("{name} is not installed"));
            None
        }
    }
}

/// A sequence of numbers that look random and are the same in every run (xorshift64).
pub struct Numbers(pub u64);

impl Numbers {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Addresses (of the file) in functions of the ELF file at `path`, the same in every run.
pub fn function_addresses(path: &Path, count: usize, seed: u64) -> Vec<u64> {
    use object::{ObjectSymbol, SymbolKind};
    let image = fs::read(path).unwrap();
    let file = object::read::elf::ElfFile64::<object::Endianness>::parse(&*image).unwrap();
    let is_function = |symbol: &object::read::elf::ElfSymbol64<'_, '_, object::Endianness>| {
        symbol.kind() == SymbolKind::Text && symbol.size() > 0 && symbol.is_definition()
    };
    let functions: Vec<_> =
        file.symbols().filter(is_function).map(|symbol| (symbol.address(), symbol.size())).collect();
    let mut numbers = Numbers(seed);
    let mut pick = || {
        let (address, size) = functions[numbers.below(functions.len() as u64) as usize];
        address + numbers.below(size)
    };
    (0..count).map(|_| pick()).collect()
}

/// One frame as an oracle tells it.
#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    pub name: String,
    pub file: String,
    pub line: u32,
}

/// The function's own name, without its path, hash and generics, which the tools write each in its own way.
pub fn plain(name: &str) -> String {
    let demangled = format!("{:#}", rustc_demangle::demangle(name)).replace("->", "");
    // The symbol of a closure called through a vtable says so; DWARF does not.
    let demangled = demangled.replace("{{vtable.shim}}", "");
    let (mut depth, mut outside) = (0, String::new());
    for letter in demangled.chars() {
        match letter {
            '<' => depth += 1,
            '>' => depth -= 1,
            _ if depth == 0 => outside.push(letter),
            _ => {}
        }
    }
    let short = outside.trim_end_matches(':').rsplit("::").next().unwrap_or_default();
    if short.contains("closure") { "closure".into() } else { short.to_owned() }
}

/// Asserts that the frames are those of the oracle, which may know nothing at all.
pub fn assert_same(address: u64, ours: &[SourceFrame], told: &[Told]) {
    if told.is_empty() {
        return;
    }
    let lines = |frames: &[SourceFrame]| frames.iter().map(|frame| frame.line).collect::<Vec<_>>();
    let told_lines: Vec<u32> = told.iter().map(|told| told.line).collect();
    assert_eq!(lines(ours), told_lines, "lines at {address:#x}: {ours:#?} {told:#?}");
    for (index, (frame, told)) in ours.iter().zip(told).enumerate() {
        let innermost = index == 0;
        // Without a line, the tool names the unit.
        if told.line != 0 {
            assert_eq!(frame.file.as_deref(), Some(&*told.file), "file at {address:#x}");
        }
        // The crate leaves a function without a name that DWARF does not cover; the tool calls the innermost frame
        // what the symbol table calls the physical function if it has no linkage name.
        let physical = plain(&ours.last().unwrap().function);
        let theirs = plain(&told.name);
        let same = theirs == plain(&frame.function) || told.name == "??" || (innermost && theirs == physical);
        assert!(same, "function at {address:#x}: {} and {}", frame.function, told.name);
    }
}

/// What the crate `addr2line` says about addresses (of the file), innermost first.
pub fn told_by_crate(path: &Path, addresses: &[u64]) -> Vec<Vec<Told>> {
    let image = fs::read(path).unwrap();
    let file = object::read::elf::ElfFile64::<object::Endianness>::parse(&*image).unwrap();
    let section = |id: gimli::SectionId| {
        let data = file.section_by_name(id.name()).map_or(&[][..], |section| section.data().unwrap());
        Ok::<_, gimli::Error>(EndianSlice::new(data, NativeEndian))
    };
    let context = addr2line::Context::from_dwarf(gimli::Dwarf::load(section).unwrap()).unwrap();
    let lookup = |address: &u64| {
        let mut told = Vec::new();
        let mut all = context.find_frames(*address).skip_all_loads().unwrap();
        while let Some(frame) = all.next().unwrap() {
            let name = frame.function.map_or("??".into(), |name| name.raw_name().unwrap().into_owned());
            let location = frame.location;
            let file = location.as_ref().and_then(|location| location.file).unwrap_or("??").into();
            told.push(Told { name, file, line: location.and_then(|location| location.line).unwrap_or(0) });
        }
        told
    };
    addresses.iter().map(lookup).collect()
}
