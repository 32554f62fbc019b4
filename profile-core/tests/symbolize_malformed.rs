//! Truncated, mutated and hostile files: an answer or none, never a panic, an endless loop or a stack overflow.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // Helpers of tests, outside of test functions.

mod symbolize_common;

use object::{Object, ObjectSection, ObjectSymbol};
use profile_core::modules::Module;
use profile_core::symbolize::__fuzz::{elf_dwarf, elf_symbols};
use profile_core::symbolize::{NativeSymbolizer, Symbolizer};
use proptest::prelude::*;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use symbolize_common::{mappings, module_of_image, tool};

const SOURCE: &str = "
static inline __attribute__((always_inline)) int leaf(int x) { return x * 3 + 1; }
static inline __attribute__((always_inline)) int middle(int x) { return leaf(x) + leaf(x + 1); }
__attribute__((noinline)) int outer(int x) { return middle(x) ^ 1; }
int main(int argc, char **argv) { return outer(argc); }
";

struct Program {
    image: Vec<u8>,
    /// Every address of `outer`.
    outer: Range<u64>,
}

/// A small C program with debug information; none, said aloud, without a compiler.
fn program() -> Option<&'static Program> {
    static PROGRAM: OnceLock<Option<Program>> = OnceLock::new();
    let compile = || {
        let directory = tempfile::tempdir().unwrap();
        let (source, output) = (directory.path().join("a.c"), directory.path().join("a"));
        std::fs::write(&source, SOURCE).unwrap();
        let (source, output) = (source.to_str().unwrap(), output.to_str().unwrap());
        tool("cc", &["-g", "-O2", "-gdwarf-5", "-nostartfiles", "-Wl,-emain", source, "-o", output])?;
        let image = std::fs::read(output).unwrap();
        let file = object::read::elf::ElfFile64::<object::Endianness>::parse(&*image).unwrap();
        let outer = file.symbols().find(|symbol| symbol.name() == Ok("outer")).unwrap();
        let outer = outer.address()..outer.address() + outer.size();
        Some(Program { image, outer })
    };
    PROGRAM.get_or_init(compile).as_ref()
}

/// Looks up everything that there is; the answer only has to come.
fn look_up(image: &[u8], addresses: Range<u64>) {
    for address in addresses.clone() {
        elf_symbols(image, address);
    }
    let all: Vec<u64> = addresses.collect();
    elf_dwarf(image, &all);
}

fn section(image: &[u8], name: &str) -> Range<usize> {
    let file = object::read::elf::ElfFile64::<object::Endianness>::parse(image).unwrap();
    let (offset, size) = file.section_by_name(name).unwrap().file_range().unwrap();
    offset as usize..(offset + size) as usize
}

#[test]
fn the_program_is_understood_when_nothing_is_wrong() {
    let Some(program) = program() else { return };
    assert_eq!(elf_symbols(&program.image, program.outer.start).as_deref(), Some("outer"));
    let frames = elf_dwarf(&program.image, &program.outer.clone().collect::<Vec<_>>()).unwrap();
    assert_eq!(frames.iter().max(), Some(&3));
}

#[test]
fn every_byte_of_the_headers_may_be_wrong() {
    let Some(Program { image, outer }) = program() else { return };
    let section_headers = u64::from_le_bytes(image[40..48].try_into().unwrap()) as usize;
    let places = (0..64 + 56 * 14).chain(section_headers..image.len());
    let mut image = image.clone();
    for place in places {
        let right = image[place];
        for wrong in [0, 0xff, right ^ 1, right ^ 0x80, right.wrapping_add(1)] {
            image[place] = wrong;
            look_up(&image, outer.start..outer.start + 3);
        }
        image[place] = right;
    }
}

#[test]
fn every_byte_of_the_debug_information_may_be_wrong() {
    let Some(Program { image, outer }) = program() else { return };
    let mut image = image.clone();
    for name in [".debug_abbrev", ".debug_info", ".debug_line", ".debug_rnglists", ".symtab"] {
        for place in section(&image, name) {
            let right = image[place];
            for wrong in [0, 0xff, right ^ 1, right ^ 0x80] {
                image[place] = wrong;
                look_up(&image, outer.start..outer.start + 3);
            }
            image[place] = right;
        }
    }
}

#[test]
fn the_file_may_end_anywhere() {
    let Some(Program { image, outer }) = program() else { return };
    for length in (0..image.len()).step_by(7) {
        look_up(&image[..length], outer.start..outer.start + 2);
    }
}

#[test]
fn a_truncated_file_on_disk_gives_addresses_only_and_a_note() {
    let Some(Program { image, outer }) = program() else { return };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("program");
    let module = module_of_image(image, path.to_str().unwrap(), 0x5555_0000_0000, 1);
    for length in [0, 10, 1000, image.len() / 2, image.len() - 1] {
        std::fs::write(&path, &image[..length]).unwrap();
        let module: Arc<Module> = Arc::new(module.clone());
        let mut symbolizer = NativeSymbolizer::new();
        assert_eq!(symbolizer.symbolize(&module, outer.start + module.bias), [], "{length}");
        assert_eq!(symbolizer.notes().len(), 1, "{length}: {:?}", symbolizer.notes());
        assert!(symbolizer.notes()[0].contains("addresses only"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_may_be_wrong(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..64)) {
        if let Some(Program { image, outer }) = program() {
            let mut image = image.clone();
            for (place, wrong) in changes {
                let place = place.index(image.len());
                image[place] = wrong;
            }
            look_up(&image, outer.start..outer.start + 5);
        }
    }

    #[test]
    fn any_bytes_at_all(bytes in prop::collection::vec(any::<u8>(), 0..512), address in any::<u64>()) {
        let elf = [b"\x7fELF\x02\x01\x01", &bytes[..]].concat();
        look_up(&elf, address..address.saturating_add(1));
    }

    #[test]
    fn the_vdso_may_be_wrong(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..32)) {
        // A real file of a few pages that is there without any compiler.
        use std::os::unix::fs::FileExt;
        if let Some(vdso) = mappings().into_iter().find(|mapping| mapping.path == "[vdso]") {
            let mut image = vec![0; (vdso.range.end - vdso.range.start) as usize];
            std::fs::File::open("/proc/self/mem").unwrap().read_exact_at(&mut image, vdso.range.start).unwrap();
            for (place, wrong) in changes {
                let place = place.index(image.len());
                image[place] = wrong;
            }
            look_up(&image, 0x600..0x680);
        }
    }
}

/// An ELF file with code at 0x1000..0x2000 and these sections.
fn elf_with(sections: &[(&str, &[u8])]) -> Vec<u8> {
    let mut names = vec![0];
    let mut headers = vec![0; 64];
    let mut contents = Vec::new();
    let all = sections.iter().copied().chain([(".shstrtab", &[][..])]);
    for (name, bytes) in all {
        let name_at = names.len() as u32;
        names.extend(name.bytes().chain([0]));
        let bytes = if name == ".shstrtab" { &names } else { bytes };
        let (offset, size) = (120 + contents.len() as u64, bytes.len() as u64);
        headers.extend([name_at, 1].iter().flat_map(|field: &u32| field.to_le_bytes()));
        headers.extend([0, 0, offset, size, 0, 1, 0].iter().flat_map(|field: &u64| field.to_le_bytes()));
        contents.extend_from_slice(bytes);
    }
    let count = sections.len() as u16 + 2;
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(16, 0);
    elf.extend([3_u16, 62].iter().flat_map(|field| field.to_le_bytes()));
    elf.extend(1_u32.to_le_bytes());
    elf.extend([0, 64, 120 + contents.len() as u64].iter().flat_map(|field: &u64| field.to_le_bytes()));
    elf.extend(0_u32.to_le_bytes());
    elf.extend([64, 56, 1, 64, count, count - 1].iter().flat_map(|field: &u16| field.to_le_bytes()));
    elf.extend([1_u32, 5].iter().flat_map(|field| field.to_le_bytes()));
    elf.extend(
        [0, 0x1000, 0x1000, 0x1000, 0x1000, 0x1000].iter().flat_map(|field: &u64| field.to_le_bytes()),
    );
    elf.extend(contents);
    elf.extend(headers);
    elf
}

/// The entries of a unit, version 4: each is (abbreviation, address range or not).
fn unit(entries: impl Iterator<Item = u8>) -> (Vec<u8>, Vec<u8>) {
    // 1: unit, 2: function, 3: inlined call; each with children, `low_pc` (address) and `high_pc` (4 bytes).
    let mut abbreviations = Vec::new();
    for (code, tag) in [(1, 0x11), (2, 0x2e), (3, 0x1d)] {
        abbreviations.extend([code, tag, 1, 0x11, 0x01, 0x12, 0x06, 0, 0]);
    }
    abbreviations.push(0);
    let mut info = vec![4, 0, 0, 0, 0, 0, 8];
    for code in entries {
        info.push(code);
        info.extend(0x1000_u64.to_le_bytes());
        info.extend(0x1000_u32.to_le_bytes());
    }
    let mut sized = (info.len() as u32).to_le_bytes().to_vec();
    sized.append(&mut info);
    (abbreviations, sized)
}

#[test]
fn calls_nested_without_end_neither_overflow_the_stack_nor_the_answer() {
    let depth = 500_000;
    let (abbreviations, info) = unit([1, 2].into_iter().chain(std::iter::repeat_n(3, depth)));
    let elf = elf_with(&[(".debug_abbrev", &abbreviations), (".debug_info", &info)]);
    // On a small stack, as a library's thread may have.
    let look_up = move || elf_dwarf(&elf, &[0x1500]);
    let frames = std::thread::Builder::new().stack_size(128 << 10).spawn(look_up).unwrap().join().unwrap();
    assert_eq!(frames, Some(vec![64]));
}

#[test]
fn tables_that_would_grow_without_end_stop_at_the_budget() {
    // A million functions at one place: 24 MB of ranges, over the 16 MiB that the entry point allows.
    let (abbreviations, info) = unit([1].into_iter().chain(std::iter::repeat_n(2, 1_000_000)));
    let elf = elf_with(&[(".debug_abbrev", &abbreviations), (".debug_info", &info)]);
    let start = Instant::now();
    assert_eq!(elf_dwarf(&elf, &[0x1500]), Some(vec![0]));
    assert!(start.elapsed() < Duration::from_secs(60));
    // A thousand fit.
    let (abbreviations, info) = unit([1].into_iter().chain(std::iter::repeat_n(2, 1000)));
    let elf = elf_with(&[(".debug_abbrev", &abbreviations), (".debug_info", &info)]);
    assert_eq!(elf_dwarf(&elf, &[0x1500]), Some(vec![1]));
}

#[test]
fn paths_that_are_no_files_are_harmless() {
    for path in ["", "[vdso]", "[heap]", "/", "/proc/self/mem", "/dev/zero", "/dev/tty", "linux-vdso.so.1"] {
        let own = symbolize_common::module_at(look_up as *const () as u64, 1);
        let stranger = Module { build_id: None, bias: 0x1234_5000, ..own };
        let module = symbolize_common::with_path(&stranger, Path::new(path));
        assert_eq!(NativeSymbolizer::new().symbolize(&module, module.text.start), [], "{path}");
    }
}
