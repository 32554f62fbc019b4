//! A file is used only if it is the mapped one: replaced, deleted, stripped, compressed and over-large files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // Helpers of tests, outside of test functions.

mod symbolize_common;

use object::{Object, ObjectSection};
use profile_core::modules::{BuildId, Module};
use profile_core::symbolize::{NativeSymbolizer, SymbolSource, Symbolizer};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use symbolize_common::{frames, module_at, module_of_image, own_path, tool, with_path};
use tempfile::TempDir;

#[inline(never)]
fn known() -> u64 {
    std::hint::black_box(5)
}

const KNOWN: &str = "symbolize_files::known";

fn known_address() -> u64 {
    known as *const () as u64
}

/// This test's own module, under the name of a copy of its file in `directory`.
fn copy_in(directory: &TempDir) -> (PathBuf, Arc<Module>) {
    let path = directory.path().join("copy");
    fs::copy(own_path(), &path).unwrap();
    (path.clone(), with_path(&module_at(known_address(), 1), &path))
}

/// The name of `known`, and what the symbolizer says about it.
fn name(symbolizer: &mut NativeSymbolizer, module: &Arc<Module>) -> Option<String> {
    frames(symbolizer, module, known_address()).last().map(|frame| frame.function.to_string())
}

fn assert_refused(module: &Arc<Module>, why: &str) {
    let mut symbolizer = NativeSymbolizer::new();
    assert_eq!(name(&mut symbolizer, module), None);
    assert_eq!(symbolizer.source(module), SymbolSource::AddressOnly);
    let notes = symbolizer.notes();
    assert!(notes.len() == 1 && notes[0].contains(&*module.path) && notes[0].contains(why), "{notes:?}");
    // It stays refused, and costs no second attempt.
    symbolizer.end_batch();
    assert_eq!(frames(&mut symbolizer, module, known_address() + 1), []);
    assert_eq!(symbolizer.stats().files_opened, 1);
}

fn patch(path: &Path, section: &str, change: impl Fn(&mut [u8])) {
    let mut image = fs::read(path).unwrap();
    let file = object::read::elf::ElfFile64::<object::Endianness>::parse(&*image).unwrap();
    let (offset, size) = file.section_by_name(section).unwrap().file_range().unwrap();
    change(&mut image[offset as usize..(offset + size) as usize]);
    fs::write(path, image).unwrap();
}

#[test]
fn the_right_file_serves_under_any_name() {
    assert_eq!(known(), 5);
    let directory = TempDir::new().unwrap();
    let (_, module) = copy_in(&directory);
    assert_eq!(name(&mut NativeSymbolizer::new(), &module).as_deref(), Some(KNOWN));
}

#[test]
fn another_build_on_disk_gives_addresses_only() {
    let directory = TempDir::new().unwrap();
    let (path, module) = copy_in(&directory);
    patch(&path, ".note.gnu.build-id", |note| note.last_mut().into_iter().for_each(|byte| *byte ^= 1));
    // Not the running executable either, whose build id it does not claim.
    let other = Module { build_id: Some(BuildId(Box::new([7; 20]))), ..(*module).clone() };
    assert_refused(&Arc::new(other), "not the one that is mapped");
}

#[test]
fn a_running_program_whose_file_was_replaced_still_resolves() {
    let directory = TempDir::new().unwrap();
    let (path, module) = copy_in(&directory);
    for content in [fs::read("/bin/sh").unwrap(), b"#!/bin/sh\n".to_vec(), Vec::new()] {
        fs::write(&path, content).unwrap();
        assert_eq!(name(&mut NativeSymbolizer::new(), &module).as_deref(), Some(KNOWN));
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(name(&mut NativeSymbolizer::new(), &module).as_deref(), Some(KNOWN));
}

#[test]
fn what_is_not_a_readable_file_is_refused() {
    let directory = TempDir::new().unwrap();
    let own = module_at(known_address(), 1);
    let stranger = Module { build_id: Some(BuildId(Box::new([7; 20]))), ..own };
    assert_refused(&with_path(&stranger, &directory.path().join("missing")), "cannot be opened");
    assert_refused(&with_path(&stranger, directory.path()), "cannot be opened");
    let pipe = directory.path().join("pipe");
    if tool("mkfifo", &[pipe.to_str().unwrap()]).is_some() {
        assert_refused(&with_path(&stranger, &pipe), "cannot be opened");
    }
    let text = directory.path().join("text");
    fs::write(&text, "not a program").unwrap();
    assert_refused(&with_path(&stranger, &text), "not an ELF file");
}

#[test]
fn a_module_without_build_id_is_proven_by_its_code() {
    // A shared library of this process, taken as if nobody had given it a build id: the file must match in its code.
    let maps = symbolize_common::mappings();
    let Some(libc) = maps.iter().find(|mapping| mapping.path.contains("libc.so")) else {
        symbolize_common::skip::skip("symbolize: files on disk", "no shared C library in this process");
        return;
    };
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("libc.so");
    let strip = ["--remove-section=.note.gnu.build-id", &libc.path, path.to_str().unwrap()];
    if tool("objcopy", &strip).is_none() {
        return;
    }
    let image = fs::read(&path).unwrap();
    let module = module_of_image(&image, path.to_str().unwrap(), libc.range.start, 1);
    assert_eq!(module.build_id, None);
    let file = object::read::elf::ElfFile64::<object::Endianness>::parse(&*image).unwrap();
    use object::ObjectSymbol;
    let malloc = file.dynamic_symbols().find(|symbol| symbol.name() == Ok("malloc")).unwrap().address();
    let named = || {
        let mut symbolizer = NativeSymbolizer::new();
        let frames = frames(&mut symbolizer, &Arc::new(module.clone()), malloc + module.bias);
        (frames.last().map(|frame| frame.function.to_string()), symbolizer.notes())
    };
    assert_eq!(named(), (Some("malloc".into()), vec![]));
    // One byte of code changed, far from what is asked for.
    patch(&path, ".text", |text| *text.last_mut().unwrap() ^= 1);
    let (name, notes) = named();
    assert_eq!(name, None);
    assert!(notes[0].contains("not the one that is mapped"), "{notes:?}");
}

#[test]
fn debug_information_over_the_budget_is_left_out_and_said() {
    let module = Arc::new(module_at(known_address(), 1));
    let mut symbolizer = NativeSymbolizer::new().with_dwarf_budget(100_000);
    let frames = frames(&mut symbolizer, &module, known_address());
    assert_eq!(frames.len(), 1);
    assert_eq!((&*frames[0].function, frames[0].line), (KNOWN, 0));
    assert_eq!(symbolizer.source(&module), SymbolSource::SymbolTable);
    let notes = symbolizer.notes();
    let said =
        notes.len() == 1 && notes[0].contains("symbol table only") && notes[0].contains("over the budget");
    assert!(said && notes[0].contains(&*module.path), "{notes:?}");
    assert_eq!(symbolizer.stats().dwarf_memory, 0);
}

#[test]
fn a_budget_that_fits_the_sections_but_not_all_tables_still_serves() {
    let module = Arc::new(module_at(known_address(), 1));
    let mut plenty = NativeSymbolizer::new();
    let addresses = symbolize_common::function_addresses(&own_path(), 500, 0xb1d);
    let expected: Vec<_> =
        addresses.iter().map(|address| frames(&mut plenty, &module, address + module.bias)).collect();
    let most = plenty.stats().dwarf_memory;
    // About half of what the tables of the units took on top of the sections.
    let mut sections = NativeSymbolizer::new();
    frames(&mut sections, &module, addresses[0] + module.bias);
    let budget = sections.stats().dwarf_memory.midpoint(most);
    let mut tight = NativeSymbolizer::new().with_dwarf_budget(budget);
    for (address, expected) in addresses.iter().zip(expected) {
        assert_eq!(frames(&mut tight, &module, address + module.bias), expected);
        assert!(tight.stats().dwarf_memory <= budget);
    }
    assert_eq!(tight.notes(), [""; 0]);
    println!("all units: {most} bytes, budget: {budget}");
}

#[test]
fn two_modules_that_do_not_fit_together_take_turns() {
    let directory = TempDir::new().unwrap();
    let (_, copy) = copy_in(&directory);
    let first = Arc::new(module_at(known_address(), 7));
    let mut symbolizer = NativeSymbolizer::new();
    frames(&mut symbolizer, &first, known_address());
    let one = symbolizer.stats().dwarf_memory;
    let mut symbolizer = NativeSymbolizer::new().with_dwarf_budget(one + one / 2);
    for offset in 0..20 {
        for module in [&first, &copy] {
            let frames = frames(&mut symbolizer, module, known_address() + offset);
            assert!(frames.last().is_some_and(|frame| frame.file.is_some()) || offset > 8, "{offset}");
            assert!(symbolizer.stats().dwarf_memory <= one + one / 2);
        }
    }
    // Bounded: at some point it stops reading files over and over, and says so.
    for offset in 20..100 {
        for module in [&first, &copy] {
            frames(&mut symbolizer, module, known_address() + offset);
        }
    }
    assert!(symbolizer.stats().dwarf_loaded <= 32);
    assert!(symbolizer.notes()[0].contains("too little memory"), "{:?}", symbolizer.notes());
    symbolizer.end_batch();
    assert!(symbolizer.stats().dwarf_memory < one / 10);
}

#[test]
fn separate_and_compressed_debug_information_serves_as_well() {
    let expected =
        frames(&mut NativeSymbolizer::new(), &Arc::new(module_at(known_address(), 1)), known_address());
    let directory = TempDir::new().unwrap();
    let (path, module) = copy_in(&directory);
    let own = own_path();
    let (own, copy) = (own.to_str().unwrap(), path.to_str().unwrap());
    let with_directory = || NativeSymbolizer::new().with_debug_directory(directory.path());
    // The running program itself would serve for the copy: these modules are not this program.
    let said = |symbolizer: &mut NativeSymbolizer, module| frames(symbolizer, module, known_address());

    let debug_file = directory.path().join("copy.debug");
    let debug = debug_file.to_str().unwrap();
    if tool("objcopy", &["--only-keep-debug", own, debug]).is_none() {
        return;
    }
    tool("objcopy", &["--strip-all", own, copy]);
    let stripped = said(&mut with_directory(), &module);
    assert_eq!(stripped, [], "nothing is known without the debug file");
    tool("objcopy", &["--strip-all", &format!("--add-gnu-debuglink={debug}"), own, copy]);
    assert_eq!(said(&mut with_directory(), &module), expected);

    let id = module.build_id.as_ref().unwrap().to_string();
    let by_id = directory.path().join(".build-id").join(&id[..2]);
    fs::create_dir_all(&by_id).unwrap();
    fs::rename(&debug_file, by_id.join(format!("{}.debug", &id[2..]))).unwrap();
    assert_eq!(said(&mut with_directory(), &module), expected);

    tool("objcopy", &["--compress-debug-sections=zlib", own, copy]);
    assert_eq!(said(&mut NativeSymbolizer::new(), &module), expected);
}

#[test]
fn compression_that_is_not_supported_is_said() {
    let directory = TempDir::new().unwrap();
    let (path, module) = copy_in(&directory);
    let own = own_path();
    let arguments = ["--compress-debug-sections=zstd", own.to_str().unwrap(), path.to_str().unwrap()];
    let help = tool("objcopy", &["--help"]).unwrap_or_default();
    if !help.contains("zstd") || tool("objcopy", &arguments).is_none() {
        symbolize_common::skip::skip("symbolize: files on disk", "objcopy does not know zstd");
        return;
    }
    let mut symbolizer = NativeSymbolizer::new();
    assert_eq!(name(&mut symbolizer, &module).as_deref(), Some(KNOWN));
    assert_eq!(symbolizer.source(&module), SymbolSource::SymbolTable);
    assert!(
        symbolizer.notes()[0].contains("compressed in a way that is not supported"),
        "{:?}",
        symbolizer.notes()
    );
}

#[test]
fn a_file_that_changes_between_batches_is_proven_again() {
    let directory = TempDir::new().unwrap();
    let (path, module) = copy_in(&directory);
    let stranger = fs::read("/bin/sh").unwrap();
    let mut symbolizer = NativeSymbolizer::new();
    assert_eq!(name(&mut symbolizer, &module).as_deref(), Some(KNOWN));
    symbolizer.end_batch();
    // The same build with another layout: stripped of what is not needed, symbols in another place.
    let arguments = ["--strip-debug", path.to_str().unwrap()];
    if tool("strip", &arguments).is_none() {
        return;
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let again = frames(&mut symbolizer, &module, known_address() + 1);
    assert_eq!(again.last().map(|frame| &*frame.function), Some(KNOWN));
    assert_eq!((again[0].line, symbolizer.stats().symbol_tables_loaded), (0, 2));
    symbolizer.end_batch();
    fs::write(&path, stranger).unwrap();
    // The running executable has the same build id and serves instead.
    let third = frames(&mut symbolizer, &module, known_address() + 2);
    assert_eq!(third.last().map(|frame| &*frame.function), Some(KNOWN));
}

/// The part of the test below that runs in a process of its own.
fn resolve_after_losing_the_file() {
    let module = Arc::new(module_at(known_address(), 1));
    let path = own_path();
    fs::remove_file(&path).unwrap();
    let mut symbolizer = NativeSymbolizer::new();
    assert_eq!(name(&mut symbolizer, &module).as_deref(), Some(KNOWN));
    // Another program takes the name, as a deploy does.
    fs::copy("/bin/sh", &path).unwrap();
    let mut symbolizer = NativeSymbolizer::new();
    assert_eq!(name(&mut symbolizer, &module).as_deref(), Some(KNOWN));
    assert_eq!(symbolizer.notes(), [""; 0]);
}

#[test]
fn a_program_resolves_itself_after_its_file_was_deleted_and_replaced() {
    const CHILD: &str = "SYMBOLIZE_FILES_CHILD";
    if std::env::var_os(CHILD).is_some() {
        return resolve_after_losing_the_file();
    }
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("program");
    fs::copy(own_path(), &path).unwrap();
    let run = || {
        let test = "a_program_resolves_itself_after_its_file_was_deleted_and_replaced";
        let output =
            std::process::Command::new(&path).args(["--exact", test]).env(CHILD, "1").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    };
    run();
    // Without a build id nothing but the kernel's word says that this is the running file.
    let (own, copy) = (own_path(), path.to_str().unwrap());
    fs::remove_file(&path).unwrap();
    if tool("objcopy", &["--remove-section=.note.gnu.build-id", own.to_str().unwrap(), copy]).is_some() {
        run();
    }
}
