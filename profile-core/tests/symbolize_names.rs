//! Functions, inlined frames, files and lines of this very test, checked against what the compiler says here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // Helpers of tests, outside of test functions.

mod symbolize_common;

use profile_core::symbolize::{NativeSymbolizer, SourceFrame, SymbolSource, Symbolizer};
use std::hint::black_box;
use std::sync::Arc;
use symbolize_common::{frames, module_at};

const LEAF_LINE: u32 = line!() + 3;
#[inline(always)]
fn leaf(value: u64) -> u64 {
    black_box(value).wrapping_mul(black_box(3))
}

const MIDDLE_LINE: u32 = line!() + 3;
#[inline(always)]
fn middle<T: Into<u64>>(value: T) -> u64 {
    leaf(value.into()) ^ black_box(1)
}

const OUTER_LINE: u32 = line!() + 3;
#[inline(never)]
fn outer(value: u32) -> u64 {
    middle(value)
}

struct Shop;

impl Shop {
    const CHECKOUT_LINE: u32 = line!() + 2;
    #[inline(never)]
    fn checkout(&self) -> u64 {
        black_box(4)
    }
}

/// The frames of every address of the function that starts at `start`.
fn frames_of_function(symbolizer: &mut NativeSymbolizer, start: u64) -> Vec<Vec<SourceFrame>> {
    let module = Arc::new(module_at(start, 1));
    let name = frames(symbolizer, &module, start).last().unwrap().system_name.clone();
    (start..start + 512)
        .map(|address| frames(symbolizer, &module, address))
        .take_while(|frames| frames.last().is_some_and(|physical| physical.system_name == name))
        .collect()
}

fn names(frames: &[SourceFrame]) -> Vec<&str> {
    frames.iter().map(|frame| &*frame.function).collect()
}

#[test]
fn inlined_frames_come_innermost_first_with_their_lines() {
    assert_eq!(outer(7), 21 ^ 1);
    let mut symbolizer = NativeSymbolizer::new();
    let all = frames_of_function(&mut symbolizer, outer as *const () as u64);
    // Optimised, something else may be inlined into `leaf` in turn.
    let last_three = |frames: &'_ Vec<SourceFrame>| frames.last_chunk::<3>().cloned();
    let is_leaf = |frame: &SourceFrame| frame.function.ends_with("leaf") && frame.line == LEAF_LINE;
    let frames = all.iter().filter_map(last_three).find(|frames| is_leaf(&frames[0]));
    let frames = frames.expect("an instruction of `leaf`");
    // With or without its path and generics, as the debug level has it.
    assert!(frames[1].function.contains("middle"), "{:?}", names(&frames));
    assert_eq!(&*frames[2].function, "symbolize_names::outer");
    let lines: Vec<u32> = frames.iter().map(|frame| frame.line).collect();
    assert_eq!(lines, [LEAF_LINE, MIDDLE_LINE, OUTER_LINE]);
    for frame in &frames {
        let file = frame.file.as_deref().unwrap();
        assert!(file.starts_with('/') && file.ends_with("tests/symbolize_names.rs"), "{file}");
        assert!(frame.column > 0);
    }
    assert!(frames[2].system_name.as_deref().unwrap().contains("outer"));
}

#[test]
fn the_first_instruction_of_a_function_has_its_name_and_line() {
    assert_eq!(Shop.checkout(), 4);
    let start = Shop::checkout as *const () as u64;
    let module = Arc::new(module_at(start, 1));
    let mut symbolizer = NativeSymbolizer::new();
    let frames = frames(&mut symbolizer, &module, start);
    let physical = frames.last().unwrap();
    assert_eq!(&*physical.function, "symbolize_names::Shop::checkout");
    // The function, or its first statement if nothing has to be done before that.
    assert!([0, 1].contains(&(physical.line - Shop::CHECKOUT_LINE)), "{physical:?}");
    assert_eq!(symbolizer.source(&module), SymbolSource::Dwarf);
    assert_eq!(symbolizer.notes(), [""; 0]);
}

#[test]
fn without_dwarf_the_symbol_table_still_names_the_function() {
    let start = outer as *const () as u64;
    let module = Arc::new(module_at(start, 1));
    let mut symbolizer = NativeSymbolizer::new().with_dwarf_budget(0);
    let frames = frames(&mut symbolizer, &module, start + 1);
    assert_eq!(names(&frames), ["symbolize_names::outer"]);
    assert_eq!((frames[0].line, frames[0].file.as_ref()), (0, None));
    assert_eq!(symbolizer.source(&module), SymbolSource::SymbolTable);
}

#[test]
fn the_c_library_has_names_and_aliases_are_the_plain_ones() {
    // A shared library with its symbol table stripped: exported functions only.
    let maps = symbolize_common::mappings();
    let Some(libc) = maps.iter().find(|mapping| mapping.path.contains("libc.so")) else {
        symbolize_common::skip::skip("symbolize: names", "no shared C library in this process");
        return;
    };
    let module = Arc::new(module_at(libc.range.start, 1));
    let image = std::fs::read(&libc.path).unwrap();
    let mut symbolizer = NativeSymbolizer::new();
    for name in ["write", "malloc", "qsort", "snprintf"] {
        let address = exported(&image, name);
        let frames = frames(&mut symbolizer, &module, address.wrapping_add(module.bias) + 2);
        assert_eq!(frames.last().map(|frame| &*frame.function), Some(name));
    }
}

fn exported(image: &[u8], name: &str) -> u64 {
    use object::{Object, ObjectSymbol};
    let file = object::read::elf::ElfFile64::<object::Endianness>::parse(image).unwrap();
    file.dynamic_symbols().find(|symbol| symbol.name() == Ok(name)).unwrap().address()
}

#[test]
fn the_vdso_has_names_although_it_has_no_file() {
    use object::{Object, ObjectSymbol};
    let maps = symbolize_common::mappings();
    let Some(vdso) = maps.iter().find(|mapping| mapping.path == "[vdso]") else {
        symbolize_common::skip::skip("symbolize: names", "no vdso in this process");
        return;
    };
    let module = Arc::new(module_at(vdso.range.start, 1));
    let bytes = (vdso.range.end - vdso.range.start) as usize;
    let mut image = vec![0; bytes];
    let memory = std::fs::File::open("/proc/self/mem").unwrap();
    std::os::unix::fs::FileExt::read_exact_at(&memory, &mut image, vdso.range.start).unwrap();
    let file = object::read::elf::ElfFile64::<object::Endianness>::parse(&*image).unwrap();
    let clock = file.dynamic_symbols().find(|symbol| symbol.name() == Ok("__vdso_clock_gettime"));
    let Some(clock) = clock else {
        symbolize_common::skip::skip("symbolize: names", "this vdso reads no clock");
        return;
    };
    let mut symbolizer = NativeSymbolizer::new();
    let frames = frames(&mut symbolizer, &module, clock.address().wrapping_add(module.bias) + 1);
    assert!(frames[0].function.ends_with("clock_gettime"), "{frames:?}");
}

#[test]
fn addresses_outside_every_function_have_no_frames() {
    let start = outer as *const () as u64;
    let module = Arc::new(module_at(start, 1));
    let mut symbolizer = NativeSymbolizer::new();
    for address in [0, module.bias, module.text.end + 0x10_0000, u64::MAX] {
        assert_eq!(frames(&mut symbolizer, &module, address), []);
    }
}

#[test]
fn a_symbolizer_can_move_to_the_thread_that_uses_it() {
    fn assert_send<T: Send>() {}
    assert_send::<NativeSymbolizer>();
}
