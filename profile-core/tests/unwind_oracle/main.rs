//! Our unwinder against framehop, both inside a real signal handler, over code of many kinds.
//!
//! A timer interrupts a thread that runs a workload; the handler walks the interrupted stack with both unwinders and
//! compares them frame by frame. A second set of tests traps after *every instruction* of short pieces of code, so that
//! no prologue, epilogue or stub escapes.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(unsafe_code)] // a signal handler, timers, and C libraries
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)] // a test, also outside its `#[test]` functions

mod harness;
#[path = "../unwind_support/mod.rs"]
mod unwind_support;
mod workloads;

use harness::{PANICS, STRICT, compare, compare_every_instruction};
use unwind_support::skipped;
use workloads as work;

#[test]
fn text_and_maps() {
    compare("text and maps", STRICT, work::text_and_maps);
}

#[test]
fn recursion() {
    compare("recursion", STRICT, work::recursion);
}

#[test]
fn qsort_with_callback() {
    compare("qsort with callback", STRICT, work::qsort_with_callback);
}

#[test]
fn memory_and_format() {
    compare("memory and format", STRICT, work::memory_and_format);
}

#[test]
fn allocation() {
    compare("allocation", STRICT, work::allocation);
}

#[test]
fn clock() {
    compare("clock", STRICT, work::clock);
}

#[test]
fn system_calls() {
    compare("system calls", STRICT, work::system_calls);
}

#[test]
fn library_without_frame_pointers() {
    match work::c_library() {
        Ok(library) => compare("library without frame pointers", STRICT, move || library.call_back()),
        Err(why) => skipped("library_without_frame_pointers", &why),
    }
}

#[test]
fn panics() {
    compare("panics", PANICS, work::panics);
}

#[test]
fn every_instruction_of_qsort() {
    compare_every_instruction("qsort", STRICT, work::qsort_of_few);
}

#[test]
fn every_instruction_of_memory_and_format() {
    compare_every_instruction("memory and format", STRICT, work::format_once);
}

#[test]
fn every_instruction_of_allocation() {
    compare_every_instruction("allocation", STRICT, work::allocate_once);
}

#[test]
fn every_instruction_of_the_clock() {
    compare_every_instruction("clock", STRICT, work::clock_once);
}

#[test]
fn every_instruction_of_system_calls() {
    compare_every_instruction("system calls", STRICT, work::system_call_once);
}

#[test]
fn every_instruction_of_a_library() {
    match work::c_library() {
        Ok(library) => compare_every_instruction("library", STRICT, move || library.call_back()),
        Err(why) => skipped("every_instruction_of_a_library", &why),
    }
}

#[test]
fn every_instruction_of_a_panic() {
    compare_every_instruction("panic", PANICS, work::panic_once);
}
