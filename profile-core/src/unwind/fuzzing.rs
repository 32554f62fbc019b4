//! The properties that the fuzz targets check: whatever the bytes, no panic, no read outside the stack, and an end.

use super::arch::{Aarch64, Architecture, Registers, X86_64};
use super::compile::compile;
use super::eh_frame;
use super::rule::{RuleId, RuleTable};
use super::table::ModuleTable;
use super::walk::{Source, StackBounds, walk};

const ADDRESS: u64 = 0x1000_0000;
const TEXT_LENGTH: u64 = 1 << 20;

/// Takes `bytes` for an `.eh_frame_hdr`, for an `.eh_frame` in front of 1 MB of code, and for a stack on which that code
/// was interrupted.
///
/// # Panics
///
/// If a property does not hold.
pub fn eh_frame(bytes: &[u8]) {
    eh_frame::section_address(bytes, ADDRESS);
    assert!(eh_frame::section_length(bytes) <= bytes.len());
    check::<X86_64>(bytes);
    check::<Aarch64>(bytes);
}

/// Takes `bytes` for the first page of a mapped ELF file and for its notes.
#[cfg(target_os = "linux")]
pub fn elf(bytes: &[u8]) {
    let _ = crate::sys::modules::program_headers(bytes);
    for alignment in [0, 4, 8] {
        let _ = crate::sys::modules::build_id(bytes, alignment);
    }
}

/// Takes `bytes` for what the kernel says in `/proc/self`: the maps, and a thread's `stat` and `status`.
#[cfg(target_os = "linux")]
pub fn proc_files(bytes: &[u8]) {
    let _ = crate::sys::stack::main_stack_end(bytes);
    let _ = crate::sys::task::start_time_in(bytes);
    let _ = crate::sys::task::blocks_sigprof_in(bytes);
}

fn check<A: Architecture>(bytes: &[u8]) {
    let text = ADDRESS + (1 << 20)..ADDRESS + (1 << 20) + TEXT_LENGTH;
    let mut rules = RuleTable::new();
    let rows = compile::<A>(bytes, ADDRESS, text.clone(), &mut rules).rows;
    assert!(rows.is_sorted_by(|a, b| a.offset < b.offset && a.rule != b.rule));
    assert!(
        rows.last().is_none_or(|last| last.rule == RuleId::NO_CFI && u64::from(last.offset) <= TEXT_LENGTH)
    );
    let table = ModuleTable::new(text.start, &rows);
    for row in &rows {
        assert_eq!(table.lookup(text.start + u64::from(row.offset)), row.rule);
    }
    let start = rows.first().map_or(0, |row| u64::from(row.offset));
    walk_over::<A>(bytes, text.start + start, &table, &rules);
}

fn walk_over<A: Architecture>(bytes: &[u8], pc: u64, table: &ModuleTable, rules: &RuleTable) {
    let low = 0x7fff_0000;
    let words: Vec<u64> =
        bytes.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap_or_default())).collect();
    let stack = StackBounds { low, high: low + 8 * words.len() as u64 };
    let source = Source {
        rule_at: |address| table.lookup(address),
        rules,
        read: |address: u64| {
            words.get(((address - low) / 8) as usize).copied().unwrap_or_else(|| unreachable!("{address:#x}"))
        },
    };
    let mut frames = 0;
    walk::<A>(Registers { pc, sp: low, fp: low + 16, lr: pc }, stack, usize::MAX, &source, &mut |_| {
        frames += 1;
        true
    });
    assert!(frames <= 2 * words.len() + 3, "{frames} frames on a stack of {} words", words.len());
}
