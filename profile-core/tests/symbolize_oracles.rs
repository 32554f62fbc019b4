//! Every address of a sample is asked of this symbolizer and of three others: the tool `addr2line` of binutils, the
//! crate `addr2line`, and the tool `nm`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // Helpers of tests, outside of test functions.

mod symbolize_common;

use profile_core::symbolize::{NativeSymbolizer, SourceFrame, SymbolSource, Symbolizer};
use std::collections::BTreeMap;
use std::sync::Arc;
use symbolize_common::{
    Told, assert_same, frames, function_addresses, module_at, own_path, told_by_crate, tool,
};

fn ours(addresses: &[u64]) -> Vec<Vec<SourceFrame>> {
    let module = Arc::new(module_at(ours as *const () as u64, 1));
    let mut symbolizer = NativeSymbolizer::new();
    let all =
        addresses.iter().map(|address| frames(&mut symbolizer, &module, address + module.bias)).collect();
    assert_eq!(symbolizer.notes(), [""; 0]);
    assert_eq!(symbolizer.source(&module), SymbolSource::Dwarf);
    all
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
    let addresses = function_addresses(&path, 3000, 0xadd2);
    let told = told_by_crate(&path, &addresses);
    for ((address, ours), told) in addresses.iter().zip(ours(&addresses)).zip(told) {
        assert_same(*address, &ours, &told);
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
