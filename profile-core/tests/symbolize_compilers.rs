//! Programs as other compilers and settings make them: full debug information, DWARF 4 and 5, optimised code, position
//! independent and not, C; each compared with the crate `addr2line`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // Helpers of tests, outside of test functions.

mod symbolize_common;

use object::{Object, ObjectSymbol};
use profile_core::symbolize::{NativeSymbolizer, SymbolSource, Symbolizer};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use symbolize_common::{assert_same, frames, function_addresses, module_of_image, told_by_crate, tool};
use tempfile::TempDir;

const RUST: &str = r#"
use std::collections::HashMap;
#[inline(always)] fn leaf(x: u64) -> u64 { std::hint::black_box(x).wrapping_mul(3) }
#[inline(always)] fn middle<T: Into<u64>>(x: T) -> u64 { leaf(x.into()) + 1 }
struct Shop { stock: HashMap<String, u64> }
impl Shop {
    #[inline(never)] fn sell(&mut self, what: &str) -> u64 {
        let left = self.stock.entry(what.to_owned()).or_insert_with(|| middle(7_u32));
        *left = left.saturating_sub(1);
        let mut all: Vec<u64> = self.stock.values().copied().filter(|n| n % 2 == 0).collect();
        all.sort_unstable();
        all.iter().map(|n| leaf(*n)).sum()
    }
}
fn main() {
    let mut shop = Shop { stock: HashMap::new() };
    let sold: u64 = std::env::args().map(|arg| shop.sell(&arg)).sum();
    println!("{sold}");
}
"#;

const C: &str = r#"
#include <stdio.h>
#include <stdlib.h>
static inline __attribute__((always_inline)) int leaf(int x) { return x * 3 + rand(); }
static inline __attribute__((always_inline)) int middle(int x) { return leaf(x) + leaf(x + 1); }
__attribute__((noinline)) int outer(int x) { return middle(x) ^ 1; }
static int compare(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }
int main(int argc, char **argv) {
    int numbers[3] = { outer(argc), argc, 2 };
    qsort(numbers, 3, sizeof *numbers, compare);
    printf("%d\n", numbers[0]);
    return 0;
}
"#;

fn compiled(directory: &TempDir, compiler: &str, source: &str, arguments: &[&str]) -> Option<PathBuf> {
    let extension = if source == C { "c" } else { "rs" };
    let input = directory.path().join("source").with_extension(extension);
    let output = directory.path().join("program");
    fs::write(&input, source).unwrap();
    let mut all = vec![input.to_str().unwrap(), "-o", output.to_str().unwrap()];
    all.extend(arguments);
    tool(compiler, &all)?;
    Some(output)
}

/// Compares every address in a sample of the program; returns how many had inlined frames.
fn assert_oracle_agrees(path: &Path) -> usize {
    let module =
        Arc::new(module_of_image(&fs::read(path).unwrap(), path.to_str().unwrap(), 0x5555_0000_0000, 1));
    assert!(module.build_id.is_some(), "the linker makes no build ids here");
    let addresses = function_addresses(path, 2000, 0xc0de);
    let mut symbolizer = NativeSymbolizer::new();
    let mut inlined = 0;
    for (address, told) in addresses.iter().zip(told_by_crate(path, &addresses)) {
        let ours = frames(&mut symbolizer, &module, address + module.bias);
        assert_same(*address, &ours, &told);
        inlined += usize::from(ours.len() > 1);
    }
    assert_eq!(symbolizer.notes(), [""; 0]);
    assert_eq!(symbolizer.source(&module), SymbolSource::Dwarf);
    println!("{}: {inlined} of {} addresses in inlined code", path.display(), addresses.len());
    inlined
}

#[test]
fn rust_with_full_debug_information() {
    for arguments in
        [&["-g", "-O"][..], &["-g", "-O", "-Cdwarf-version=5"], &["-Cdebuginfo=1", "-Copt-level=2"]]
    {
        let directory = TempDir::new().unwrap();
        let build_id = ["-Clink-arg=-Wl,--build-id"];
        let Some(path) = compiled(&directory, "rustc", RUST, &[arguments, &build_id].concat()) else {
            return;
        };
        assert!(assert_oracle_agrees(&path) > 100);
    }
}

#[test]
fn rust_functions_have_their_whole_path_where_the_compiler_wrote_it() {
    let directory = TempDir::new().unwrap();
    let arguments = ["-g", "-Copt-level=2", "-Clink-arg=-Wl,--build-id"];
    let Some(path) = compiled(&directory, "rustc", RUST, &arguments) else { return };
    let image = fs::read(&path).unwrap();
    let module = Arc::new(module_of_image(&image, path.to_str().unwrap(), 0x5555_0000_0000, 1));
    let mut symbolizer = NativeSymbolizer::new();
    let file = object::read::elf::ElfFile64::<object::Endianness>::parse(&*image).unwrap();
    let sell = file.symbols().find(|symbol| symbol.name().is_ok_and(|name| name.contains("4sell"))).unwrap();
    let mut leaf = None;
    for address in sell.address()..sell.address() + sell.size() {
        let frames = frames(&mut symbolizer, &module, address + module.bias);
        let physical = frames.last().unwrap();
        assert_eq!((&*physical.function, physical.start_line), ("source::Shop::sell", 7));
        leaf = leaf.or_else(|| frames.into_iter().find(|frame| &*frame.function == "source::leaf"));
    }
    let leaf = leaf.expect("`leaf` is inlined");
    assert_eq!((leaf.start_line, leaf.line), (3, 3));
    assert!(leaf.system_name.unwrap().contains("4leaf"));
    assert!(leaf.file.unwrap().ends_with("/source.rs"));
}

#[test]
fn c_in_each_version_of_dwarf() {
    for version in ["-gdwarf-2", "-gdwarf-3", "-gdwarf-4", "-gdwarf-5"] {
        for position in ["-no-pie", "-pie"] {
            let directory = TempDir::new().unwrap();
            let arguments = [version, position, "-O2", "-fPIE", "-Wl,--build-id"];
            let Some(path) = compiled(&directory, "cc", C, &arguments) else { return };
            assert!(assert_oracle_agrees(&path) > 10);
        }
    }
}
