//! The list of loaded modules against what the kernel and the files say, and through `dlopen` and `dlclose`.
#![cfg(target_os = "linux")]
#![allow(unsafe_code)] // dlopen and dlclose
#![allow(clippy::unwrap_used, clippy::print_stderr)] // a test, also outside its `#[test]` functions

mod unwind_support;

use object::Object;
use profile_core::modules::{Module, ModuleList};
use profile_core::unwind::{TableSlot, UnwindTables, loaded_modules, loader_counts};
use std::collections::HashMap;
use std::ffi::c_void;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use unwind_support::{c_library, open, skipped};

/// The tests that load libraries take turns: they look at counts of the process.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn every_executable_mapping_of_a_file_belongs_to_a_module() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let list = loaded_modules(&ModuleList::default());
    let mut seen = 0;
    for line in std::fs::read_to_string("/proc/self/maps").unwrap().lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [range, "r-xp", offset, _, _, path] = fields[..] else { continue };
        if path == "[vsyscall]" {
            continue;
        }
        let (start, end) = range.split_once('-').unwrap();
        let [start, end, offset] = [start, end, offset].map(|field| u64::from_str_radix(field, 16).unwrap());
        // Segments need not begin where pages do.
        let module = list.modules.iter().find(|module| (start..end).contains(&module.text.start));
        let module = module.unwrap_or_else(|| panic!("no module for {line}"));
        assert!(same_file(&module.path, path), "{} is {path}", module.path);
        assert!(module.text.end <= end, "{module:?} in {line}");
        if path.starts_with('/') {
            assert_eq!(module.text_file_offset - offset, module.text.start - start, "{line}");
        }
        seen += 1;
    }
    assert_eq!(seen, list.modules.len());
    assert!(list.modules.iter().any(|module| module.path.as_ref() == "[vdso]"));
    let own = std::env::current_exe().unwrap();
    assert!(list.modules.iter().any(|module| Path::new(module.path.as_ref()) == own));
}

fn same_file(a: &str, b: &str) -> bool {
    a == b || std::fs::canonicalize(a).is_ok_and(|a| std::fs::canonicalize(b).is_ok_and(|b| a == b))
}

#[test]
fn build_ids_and_segments_are_those_of_the_files() {
    let list = loaded_modules(&ModuleList::default());
    let mut compared = 0;
    for module in list.modules.iter().filter(|module| module.path.starts_with('/')) {
        let Ok(bytes) = std::fs::read(module.path.as_ref()) else { continue };
        let file = object::File::parse(&*bytes).unwrap();
        let build_id = module.build_id.as_ref().map(|id| &*id.0);
        assert_eq!(build_id, file.build_id().unwrap(), "{}", module.path);
        let segments: Vec<_> = object::Object::segments(&file)
            .map(|segment| {
                use object::ObjectSegment;
                let start = segment.address() + module.bias;
                (start..start + segment.size(), segment.file_range().0)
            })
            .collect();
        let ours: Vec<_> =
            module.segments.iter().map(|segment| (segment.range.clone(), segment.file_offset)).collect();
        assert_eq!(ours, segments, "{}", module.path);
        compared += 1;
    }
    assert!(compared >= 2, "the executable and the C library at least");
}

#[test]
fn a_list_without_changes_is_the_same_list() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let first = loaded_modules(&ModuleList::default());
    let counts = loader_counts();
    let second = loaded_modules(&first);
    assert_eq!((first.generation, counts), (second.generation, second.counts));
    let same = first.modules.iter().zip(&second.modules).all(|(a, b)| std::sync::Arc::ptr_eq(a, b));
    assert!(same && first.modules.len() == second.modules.len());
}

#[test]
fn libraries_that_come_and_go_at_one_address_are_told_apart() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = tempfile::tempdir().unwrap();
    let library = |name, build_id| {
        let source = format!("int {name}(void) {{ return 1; }}");
        c_library(directory.path(), name, &source, &[&format!("-Wl,--build-id={build_id}")])
    };
    let (a, b, bare) = match (library("a", "sha1"), library("b", "sha1"), library("c", "none")) {
        (Ok(a), Ok(b), Ok(bare)) => (a, b, bare),
        (Err(why), ..) | (_, Err(why), _) | (.., Err(why)) => {
            return skipped("libraries_that_come_and_go_at_one_address_are_told_apart", &why);
        }
    };
    let slot = TableSlot::new();
    let mut list = loaded_modules(&ModuleList::default());
    let mut tables = UnwindTables::compile(&list, None);
    let mut ids = HashMap::new();
    let mut starts = Vec::new();
    for (round, path) in [&a, &b, &a, &b, &bare, &bare].into_iter().enumerate() {
        let before = loader_counts();
        let handle = open(path);
        assert_ne!(loader_counts(), before, "a load is seen in the counts");
        let with = loaded_modules(&list);
        assert_eq!(with.generation, list.generation + 1);
        let module = find(&with, path);
        assert!(ids.insert(module.id, round).is_none(), "an id is never used again");
        starts.push(module.text.start);
        tables = UnwindTables::compile(&with, Some(&tables));
        assert!(slot.replace(Box::new(UnwindTables::compile(&with, Some(&tables)))).is_ok());
        close(handle);
        // The closed library's memory is gone; its table is not.
        assert!(slot.enter().get().unwrap().stats().functions > 0);
        // No snapshot in between: the next library is opened where this one was.
        list = with;
    }
    starts.dedup();
    eprintln!("{} distinct places for 6 loads", starts.len());
    assert!(starts.len() < 6, "no two libraries met at one address: the test shows nothing");
    let last = loaded_modules(&list);
    assert!(!last.modules.iter().any(|module| ids.contains_key(&module.id)), "all are closed");
}

fn find<'a>(list: &'a ModuleList, path: &str) -> &'a Module {
    list.modules.iter().find(|module| module.path.as_ref() == path).unwrap()
}

fn close(handle: *mut c_void) {
    // SAFETY: the handle is open, and nothing of the library is in use.
    assert_eq!(unsafe { libc::dlclose(handle) }, 0);
}
