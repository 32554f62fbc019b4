//! The comparison with framehop as a program, for builds that a test cannot have: `scripts/unwind-matrix` runs it
//! stripped, with fat LTO, with `panic = "abort"`, statically linked and position-dependent.
#![allow(unsafe_code)] // see the test
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, dead_code)] // a test in all but name

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[path = "../tests/unwind_workloads/crates.rs"]
mod crates;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[path = "../../profile-core/tests/unwind_oracle/harness.rs"]
mod harness;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[path = "../../profile-core/tests/unwind_support/mod.rs"]
mod unwind_support;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[path = "../../profile-core/tests/unwind_oracle/workloads.rs"]
mod workloads;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn main() {
    use harness::{PANICS, STRICT, compare, compare_every_instruction, compare_here};
    use workloads as work;

    compare_here("main thread", STRICT, work::text_and_maps);
    compare("text and maps", STRICT, work::text_and_maps);
    compare("regex and JSON", STRICT, crates::regex_and_json);
    crates::on_workers("tokio workers", STRICT);
    compare("recursion", STRICT, work::recursion);
    compare("qsort with callback", STRICT, work::qsort_with_callback);
    compare("memory and format", STRICT, work::memory_and_format);
    compare("allocation", STRICT, work::allocation);
    compare("clock", STRICT, work::clock);
    compare("system calls", STRICT, work::system_calls);
    compare_every_instruction("qsort", STRICT, work::qsort_of_few);
    compare_every_instruction("memory and format", STRICT, work::format_once);
    compare_every_instruction("allocation", STRICT, work::allocate_once);
    if cfg!(panic = "unwind") {
        compare("panics", PANICS, work::panics);
    }
    match work::c_library() {
        Ok(library) => compare("library without frame pointers", STRICT, || library.call_back()),
        Err(why) => eprintln!("not compared: library without frame pointers: {why}"),
    }
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn main() {
    eprintln!("This comparison runs on x86-64 Linux only.");
}
