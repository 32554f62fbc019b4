//! Libraries that come and go, each at the address of the one before.

use crate::harness::{Figures, Row, Watched, is_full, length};
use crate::os::Library;
use crate::work::beside_busy_threads;
use std::collections::HashMap;
use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Three libraries of one size: the loader puts each where the one before was. Two have the same frames, so that whoever
/// takes one for the other finds the callers all the same and gives them a wrong callee; the third has larger ones, so that
/// the rules of the others lead astray in it.
const SOURCES: [(&str, &CStr, usize); 3] =
    [("alpha", c"alpha_work", 40), ("gamma", c"gamma_work", 40), ("omega", c"omega_work", 328)];

pub(crate) fn turns() {
    let folder = tempfile::tempdir().unwrap();
    let Some(paths) = build(folder.path()) else {
        return profile_tests::skip::skip("libraries_that_take_turns_at_one_address", "no C compiler `cc`");
    };
    let watched = Watched::start();
    let over = Instant::now() + length();
    let mut addresses: HashMap<usize, [u32; 3]> = HashMap::new();
    // Turns that last longer and shorter than the profiler takes to notice.
    let turns = [3, 120, 15, 250, 40, 400, 1];
    let mut turn = 0;
    beside_busy_threads(1, || {
        while Instant::now() < over || turn < 40 {
            let which = turn % 3;
            let library = Library::open(&paths[which]);
            let (work, address) = library.function(SOURCES[which].1);
            addresses.entry(address).or_default()[which] += 1;
            let end = Instant::now() + Duration::from_millis(turns[turn % turns.len()]);
            let calls = [through_alpha, through_gamma, through_omega];
            while Instant::now() < end {
                calls[which](work);
            }
            turn += 1;
        }
    });
    let figures = watched.finish();
    figures.check(0.95);
    let shared = addresses.values().filter(|turns| turns.iter().all(|turns| *turns > 1)).count();
    assert!(shared > 0, "the libraries never shared an address: {addresses:?}");
    names(&figures, turn);
}

/// Who calls one library never calls another: a stack with two names that do not belong together is a wrong one.
#[inline(never)]
fn through_alpha(work: extern "C" fn(u64) -> u64) -> u64 {
    work(20_000) ^ 1
}

#[inline(never)]
fn through_gamma(work: extern "C" fn(u64) -> u64) -> u64 {
    work(20_000) ^ 2
}

#[inline(never)]
fn through_omega(work: extern "C" fn(u64) -> u64) -> u64 {
    work(20_000) ^ 3
}

fn names(figures: &Figures, turns: usize) {
    let callee = |row: &Row| SOURCES.iter().position(|(name, ..)| row.mentions(&format!("{name}_work")));
    let caller = |row: &Row| SOURCES.iter().position(|(name, ..)| row.mentions(&format!("through_{name}")));
    let right = figures.of(|row| callee(row).is_some() && callee(row) == caller(row));
    let wrong =
        figures.of(|row| callee(row).is_some() && caller(row).is_some() && callee(row) != caller(row));
    let inside = figures.of(|row| callee(row).is_some());
    let calling = figures.of(|row| caller(row).is_some());
    println!(
        "{turns} turns: {right:.2?} under the right name, {wrong:.2?} under the wrong one, {:.2?} named without caller, \
         {:.2?} with a caller only",
        inside.saturating_sub(right + wrong),
        calling.saturating_sub(right + wrong),
    );
    assert_eq!(wrong, Duration::ZERO, "under a wrong name, and {right:?} under the right one");
    // Turns shorter than the profiler's look at the loader cannot be named for certain; most time is in longer ones.
    let all = figures.sampled / 4;
    assert!(right > all.mul_f64(if is_full() { 0.9 } else { 0.5 }), "{right:?} of some {all:?}");
}

fn build(folder: &Path) -> Option<[PathBuf; 3]> {
    let mut paths = Vec::new();
    for (name, function, frame) in SOURCES {
        let (source, library) = (folder.join(format!("{name}.c")), folder.join(format!("lib{name}.so")));
        let function = function.to_str().unwrap();
        let code = format!(
            "#include <stdint.h>\n\
             __attribute__((noinline)) static uint64_t {function}_inner(volatile uint64_t *room, uint64_t n) {{\n\
             uint64_t x = n; while (n--) {{ x ^= x << 13; x ^= x >> 7; room[n % {frame}] = x; }} return x; }}\n\
             uint64_t {function}(uint64_t n) {{\n\
             volatile uint64_t room[{frame}]; return {function}_inner(room, n) + room[0]; }}\n"
        );
        std::fs::write(&source, code).unwrap();
        let mut command = Command::new("cc");
        command.args(["-O2", "-fPIC", "-shared", "-fomit-frame-pointer", "-o"]).arg(&library).arg(&source);
        let built = command.output().ok()?;
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        paths.push(library);
    }
    paths.try_into().ok()
}
