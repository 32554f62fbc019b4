//! What is kept, for how long, and that it saves the work.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // Helpers of tests, outside of test functions.

mod symbolize_common;

use object::{Object, ObjectSymbol, SymbolKind};
use profile_core::modules::{ModuleId, ModuleList};
use profile_core::symbolize::{NativeSymbolizer, SymbolSource, Symbolizer};
use std::fs;
use std::sync::Arc;
use symbolize_common::{frames, function_addresses, mappings, module_at, module_of_image, own_path};

fn own_address() -> u64 {
    own_address as *const () as u64
}

#[test]
fn a_second_lookup_does_no_work() {
    let module = Arc::new(module_at(own_address(), 1));
    let mut symbolizer = NativeSymbolizer::new();
    let first = frames(&mut symbolizer, &module, own_address());
    symbolizer.end_batch();
    let before = symbolizer.stats();
    assert_eq!((before.hits, before.misses, before.cached_addresses), (0, 1, 1));
    assert_eq!((before.files_opened, before.symbol_tables_loaded, before.dwarf_loaded), (1, 1, 1));
    let second = frames(&mut symbolizer, &module, own_address());
    assert_eq!(first, second);
    let after = symbolizer.stats();
    assert_eq!((after.hits, after.misses), (1, 1));
    assert_eq!(after.files_opened, 1, "the file was closed and not needed again");
    // The strings exist once, in the cache as in the answers.
    assert!(Arc::ptr_eq(&first[0].function, &second[0].function));
    let neighbour = frames(&mut symbolizer, &module, own_address() + 1);
    assert!(Arc::ptr_eq(first[0].file.as_ref().unwrap(), neighbour[0].file.as_ref().unwrap()));
}

#[test]
fn an_address_without_a_name_is_remembered_too() {
    let module = Arc::new(module_at(own_address(), 1));
    let mut symbolizer = NativeSymbolizer::new();
    for _ in 0..3 {
        assert_eq!(frames(&mut symbolizer, &module, module.bias), []);
    }
    let stats = symbolizer.stats();
    assert_eq!((stats.hits, stats.misses), (2, 1));
}

#[test]
fn another_library_at_the_same_address_under_the_same_path_has_its_own_names() {
    let maps = mappings();
    let library = |name| maps.iter().find(|mapping| mapping.path.contains(name)).map(|mapping| &mapping.path);
    let (Some(libc), Some(linker)) = (library("/libc.so"), library("/ld-linux")) else {
        symbolize_common::skip::skip("symbolize: a module of its own", "no shared C library in this process");
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("plugin.so");
    let no_debug_files = directory.path().join("none");
    let mut symbolizer = NativeSymbolizer::new().with_debug_directory(no_debug_files);
    let load = |file: &str, id: u32| {
        let image = fs::read(file).unwrap();
        fs::write(&path, &image).unwrap();
        Arc::new(module_of_image(&image, path.to_str().unwrap(), 0x7777_0000_0000, id))
    };
    let exported = |file: &str| {
        let image = fs::read(file).unwrap();
        let file = object::read::elf::ElfFile64::<object::Endianness>::parse(&*image).unwrap();
        let functions = file.dynamic_symbols().filter(|symbol| {
            symbol.kind() == SymbolKind::Text && symbol.is_definition() && symbol.size() > 0
        });
        functions.map(|symbol| (symbol.address(), symbol.name().unwrap().to_owned())).collect::<Vec<_>>()
    };
    let (first_names, second_names) = (exported(libc), exported(linker));

    let first = load(libc, 1);
    let address = first_names[0].0 + first.bias;
    let named = frames(&mut symbolizer, &first, address);
    let aliases = |address: u64| first_names.iter().filter(move |(other, _)| *other == address);
    assert!(aliases(first_names[0].0).any(|(_, name)| *name == *named[0].function), "{named:?}");

    symbolizer.end_batch();
    let second = load(linker, 2);
    assert_eq!((first.bias, &first.path), (second.bias, &second.path));
    for (address, name) in &second_names {
        let named = frames(&mut symbolizer, &second, address + second.bias);
        let same_place = second_names.iter().filter(|(other, _)| other == address);
        assert!(same_place.into_iter().any(|(_, name)| *name == *named[0].function), "{name}: {named:?}");
        // The file is no longer that of the first library: its names are not guessed from the new one.
        if !first_names.iter().any(|(other, _)| other == address) {
            assert_eq!(frames(&mut symbolizer, &first, address + first.bias), [], "{name}");
        }
    }
    // What was looked up while the file was there stays.
    assert_eq!(frames(&mut symbolizer, &first, address), named);
    assert_eq!(symbolizer.source(&second), SymbolSource::SymbolTable);
}

#[test]
fn a_module_that_is_gone_leaves_nothing_behind() {
    let gone = Arc::new(module_at(own_address(), 1));
    let stays = Arc::new(profile_core::modules::Module { id: ModuleId(2), ..(*gone).clone() });
    let mut symbolizer = NativeSymbolizer::new();
    for offset in 0..10 {
        frames(&mut symbolizer, &gone, own_address() + offset);
        frames(&mut symbolizer, &stays, own_address() + offset);
    }
    symbolizer.end_batch();
    let both = symbolizer.stats();
    symbolizer.retain_modules(&ModuleList { modules: vec![Arc::clone(&stays)], ..ModuleList::default() });
    let one = symbolizer.stats();
    assert_eq!((both.cached_addresses, one.cached_addresses), (20, 10));
    assert_eq!(one.symbol_table_memory * 2, both.symbol_table_memory);
    assert_eq!(symbolizer.source(&gone), SymbolSource::AddressOnly);
    assert_eq!(symbolizer.source(&stays), SymbolSource::Dwarf);
    frames(&mut symbolizer, &stays, own_address());
    assert_eq!(symbolizer.stats().misses, both.misses);
    symbolizer.retain_modules(&ModuleList::default());
    let none = symbolizer.stats();
    assert_eq!((none.cached_addresses, none.symbol_table_memory, none.dwarf_memory), (0, 0, 0));
}

#[test]
fn a_full_cache_is_cleared_and_says_so() {
    let module = Arc::new(module_at(own_address(), 1));
    let mut symbolizer = NativeSymbolizer::new().with_dwarf_budget(0).with_cache_capacity(100);
    let addresses = function_addresses(&own_path(), 350, 0xf011);
    let distinct: std::collections::BTreeSet<_> = addresses.iter().collect();
    for address in &distinct {
        assert_eq!(frames(&mut symbolizer, &module, **address + module.bias).len(), 1);
        assert!(symbolizer.stats().cached_addresses <= 100);
    }
    assert_eq!(symbolizer.stats().cache_clears, (distinct.len() as u64 - 1) / 100);
    assert!(symbolizer.notes()[0].contains("cleared"), "{:?}", symbolizer.notes());
}
