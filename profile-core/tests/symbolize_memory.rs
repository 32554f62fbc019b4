//! What symbolising costs in memory. Alone in its program, so that the process's own size says something.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // Helpers of tests, outside of test functions.

mod symbolize_common;

use profile_core::modules::Module;
use profile_core::symbolize::{NativeSymbolizer, Symbolizer};
use std::fs;
use std::process::Command;
use std::sync::Arc;
use symbolize_common::{function_addresses, module_at, own_path};

/// Resident memory that belongs to this process alone, in bytes. (The figures in `/proc/self/status` lag behind.)
fn resident() -> u64 {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = rollup.lines().find(|line| line.starts_with("Anonymous:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// The time this thread spent on a CPU, in nanoseconds.
fn cpu_nanos() -> u64 {
    let statistics = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    statistics.split(' ').next().unwrap().parse().unwrap()
}

/// Looks up every address; returns nanoseconds for each.
fn look_up(symbolizer: &mut NativeSymbolizer, module: &Arc<Module>, addresses: &[u64]) -> u64 {
    let start = cpu_nanos();
    for address in addresses {
        assert!(!symbolizer.symbolize(module, address + module.bias).is_empty());
    }
    (cpu_nanos() - start) / addresses.len() as u64
}

const CHILD: &str = "SYMBOLIZE_MEMORY_CHILD";

#[test]
fn the_symbol_table_path_stays_small_and_dwarf_goes_after_the_batch() {
    // In a process of its own whose allocator returns large buffers at once: otherwise what earlier steps freed is
    // reused, and no growth is seen.
    if std::env::var_os(CHILD).is_none() {
        let mut child = Command::new(own_path());
        child.args(["--nocapture"]).env(CHILD, "1");
        child.env("MALLOC_MMAP_THRESHOLD_", "16384").env("MALLOC_TRIM_THRESHOLD_", "16384");
        assert!(child.status().unwrap().success());
        return;
    }
    let module = Arc::new(module_at(resident as *const () as u64, 1));
    let addresses = function_addresses(&own_path(), 10_000, 0x517e);

    let before = resident();
    let mut symbolizer = NativeSymbolizer::new().with_dwarf_budget(0);
    let nanos = look_up(&mut symbolizer, &module, &addresses);
    let grown = resident() - before;
    let stats = symbolizer.stats();
    println!("symbol table: {nanos} ns an address, {grown} bytes resident, {stats:?}");
    // 12 bytes and, if it was seen, a name for each function, and a few hundred for each address that was seen (frame, names, hash tables).
    assert!(stats.symbol_table_memory < 2 << 20, "{stats:?}");
    assert!((100_000..8 << 20).contains(&grown), "{grown}");
    drop(symbolizer);

    let before = resident();
    let mut symbolizer = NativeSymbolizer::new();
    let nanos = look_up(&mut symbolizer, &module, &addresses);
    let during = resident().saturating_sub(before);
    let stats = symbolizer.stats();
    symbolizer.end_batch();
    let after = resident().saturating_sub(before);
    println!("DWARF: {nanos} ns an address, {during} bytes resident, {after} after the batch, {stats:?}");
    assert!(stats.dwarf_memory > 1 << 20 && stats.dwarf_memory < NativeSymbolizer::DEFAULT_DWARF_BUDGET);
    assert!(symbolizer.stats().dwarf_memory < 1 << 20, "{:?}", symbolizer.stats());
    // What is counted is what is taken, within the odd table; and it goes back.
    assert!(during - after > stats.dwarf_memory / 2, "{during} - {after}");
    assert!(during < stats.dwarf_memory * 3, "{during}");
}
