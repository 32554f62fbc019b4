//! Every address of a sample is asked of this symbolizer and of three others: the tool `addr2line` of binutils, the
//! crate `addr2line`, and the tool `nm`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // Helpers of tests, outside of test functions.

mod symbolize_common;

use gimli::{EndianSlice, NativeEndian};
use object::{Object, ObjectSection};
use profile_core::symbolize::{NativeSymbolizer, SourceFrame, SymbolSource, Symbolizer};
use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use symbolize_common::{frames, function_addresses, module_at, own_path, tool};

/// One frame as an oracle tells it.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    name: String,
    file: String,
    line: u32,
}

fn ours(addresses: &[u64]) -> Vec<Vec<SourceFrame>> {
    let module = Arc::new(module_at(ours as *const () as u64, 1));
    let mut symbolizer = NativeSymbolizer::new();
    let all =
        addresses.iter().map(|address| frames(&mut symbolizer, &module, address + module.bias)).collect();
    assert_eq!(symbolizer.notes(), [""; 0]);
    assert_eq!(symbolizer.source(&module), SymbolSource::Dwarf);
    all
}

/// The function's own name, without its path, hash and generics, which the tools write each in its own way.
fn plain(name: &str) -> String {
    let demangled = format!("{:#}", rustc_demangle::demangle(name)).replace("->", "");
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

fn assert_same(address: u64, ours: &[SourceFrame], told: &[Told]) {
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

#[test]
fn the_tool_addr2line_says_the_same() {
    let path = own_path();
    let addresses = function_addresses(&path, 300, 0x5eed);
    let mut arguments = vec!["-f".into(), "-i".into(), "-a".into(), "-e".into(), path.display().to_string()];
    arguments.extend(addresses.iter().map(|address| format!("{address:#x}")));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let Some(output) = tool("addr2line", &arguments) else { return };
    let mut told: Vec<Vec<Told>> = Vec::new();
    let mut lines = output.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("0x") {
            told.push(Vec::new());
            continue;
        }
        let (file, number) = lines.next().unwrap().rsplit_once(':').unwrap();
        let number = number.split(' ').next().unwrap().parse().unwrap_or(0);
        told.last_mut().unwrap().push(Told { name: line.into(), file: file.into(), line: number });
    }
    assert_eq!(told.len(), addresses.len());
    let mut inlined = 0;
    for ((address, ours), told) in addresses.iter().zip(ours(&addresses)).zip(&told) {
        assert_same(*address, &ours, told);
        inlined += usize::from(told.len() > 1);
    }
    println!("{} addresses, {inlined} of them in inlined code", addresses.len());
    assert!(inlined > 10, "the sample has too little inlined code to prove anything: {inlined}");
}

#[test]
fn the_crate_addr2line_says_the_same() {
    let path = own_path();
    let image = fs::read(&path).unwrap();
    let file = object::read::elf::ElfFile64::<object::Endianness>::parse(&*image).unwrap();
    let section = |id: gimli::SectionId| {
        let data = file.section_by_name(id.name()).map_or(&[][..], |section| section.data().unwrap());
        Ok::<_, gimli::Error>(EndianSlice::new(data, NativeEndian))
    };
    let context = addr2line::Context::from_dwarf(gimli::Dwarf::load(section).unwrap()).unwrap();
    let addresses = function_addresses(&path, 3000, 0xadd2);
    for (address, ours) in addresses.iter().zip(ours(&addresses)) {
        let mut told = Vec::new();
        let mut all = context.find_frames(*address).skip_all_loads().unwrap();
        while let Some(frame) = all.next().unwrap() {
            let name = frame.function.map_or("??".into(), |name| name.raw_name().unwrap().into_owned());
            let location = frame.location;
            let file = location.as_ref().and_then(|location| location.file).unwrap_or("??").into();
            told.push(Told { name, file, line: location.and_then(|location| location.line).unwrap_or(0) });
        }
        if !told.is_empty() {
            assert_same(*address, &ours, &told);
        }
    }
}

#[test]
fn the_tool_nm_says_the_same() {
    let path = own_path();
    let Some(output) = tool("nm", &["--defined-only", "-S", path.to_str().unwrap()]) else { return };
    // Names by start and size: aliases share both.
    let mut functions: BTreeMap<(u64, u64), Vec<&str>> = BTreeMap::new();
    for line in output.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        if let [start, size, "t" | "T" | "w" | "W" | "i", name] = fields[..] {
            let hex = |text| u64::from_str_radix(text, 16).unwrap();
            functions.entry((hex(start), hex(size))).or_default().push(name);
        }
    }
    assert!(functions.len() > 1000, "{}", functions.len());
    let module = Arc::new(module_at(ours as *const () as u64, 1));
    let mut symbolizer = NativeSymbolizer::new().with_dwarf_budget(0);
    for ((start, size), names) in &functions {
        for address in [*start, start + size / 2, start + size - 1] {
            let frames = frames(&mut symbolizer, &module, address + module.bias);
            let name = frames.first().and_then(|frame| frame.system_name.as_deref());
            assert!(name.is_some_and(|name| names.contains(&name)), "{address:#x}: {name:?}, not {names:?}");
        }
    }
    println!("{} functions", functions.len());
}
