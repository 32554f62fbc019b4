//! What it costs to start: the caller's time, and the memory that stays.
//!
//! Each measurement is a process of its own, for what the first start in a process costs. On a machine that others use too,
//! the best of some counts. The same figures beside other profilers': `scripts/compare`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // Helpers of tests, outside of test functions.

use profile_layer::Profiler;
use profile_tests::accuracy::retried;
use profile_tests::clock::burn;
use std::process::Command;
use std::time::{Duration, Instant};

/// Set in a child: it measures.
const CHILD: &str = "PROFILE_COST_CHILD";
const MOST_MILLIS: f64 = 5.0;
/// Two below the limit of 10 MB, for the code.
const MOST_BYTES: u64 = 8_000_000;

/// The resident memory of the process, in bytes, but for code: this program's is not optimised, and the kernel reads in four
/// megabytes of it around what is executed. `scripts/compare start` counts all, in an optimised program.
fn resident() -> u64 {
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut is_code = false;
    let mut sum = 0;
    for line in smaps.lines() {
        let mut words = line.split_ascii_whitespace();
        match (words.next().unwrap(), words.next().unwrap()) {
            ("Rss:", kilobytes) if !is_code => sum += kilobytes.parse::<u64>().unwrap() << 10,
            // The head of a mapping: its addresses and what is permitted.
            (first, permitted) if !first.ends_with(':') => is_code = permitted.contains('x'),
            _ => {}
        }
    }
    sum
}

/// Starts a profiler and waits until samples have stacks: then the unwind tables are there. Prints the time of the start in
/// milliseconds and how much resident memory has grown since before it.
fn child() {
    let before = resident();
    let begun = Instant::now();
    let profiler = Profiler::builder().build().unwrap();
    let took = begun.elapsed().as_secs_f64() * 1e3;
    let with_stacks = || profiler.stats().samples_taken - profiler.stats().unready_stacks;
    let deadline = Instant::now() + Duration::from_secs(60);
    while with_stacks() < 5 && Instant::now() < deadline {
        burn(Duration::from_millis(10)).unwrap();
    }
    assert!(with_stacks() >= 5, "no samples with stacks in a minute: {:?}", profiler.stats());
    println!("START {took} {}", resident().saturating_sub(before));
    profiler.shutdown().unwrap();
}

#[test]
fn a_start_is_quick_and_small() {
    if std::env::var_os(CHILD).is_some() {
        return child();
    }
    retried(20, || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "a_start_is_quick_and_small", "--nocapture", "--test-threads=1"]);
        let output = command.env(CHILD, "1").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        let figures = text.lines().find_map(|line| line.split_once("START ")).expect("the child's figures").1;
        let (took, memory) = figures.split_once(' ').unwrap();
        let (took, memory): (f64, u64) = (took.parse().unwrap(), memory.parse().unwrap());
        println!("start {took:.2} ms, {:.1} MB resident", memory as f64 / 1e6);
        let is_good = took < MOST_MILLIS && memory < MOST_BYTES;
        if is_good { Ok(()) } else { Err(format!("{took} ms, {memory} bytes")) }
    });
}
