//! Work that other unwinders and allocating handlers do not survive, and the work that other storms are made of.

use crate::harness::{LongEnough, Watched, is_full, length};
use std::hint::black_box;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Runs `work` again and again on `threads` threads until the storm is over.
pub(crate) fn storm_on(threads: usize, work: impl Fn() + Sync) {
    let enough = LongEnough::new(length());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let _span = tracing::info_span!("storm").entered();
                while !enough.is_over() {
                    work();
                }
            });
        }
    });
}

/// Keeps `threads` threads busy in [`spin`], each in a span, while `during` runs.
pub(crate) fn beside_busy_threads<T>(threads: usize, during: impl FnOnce() -> T) -> T {
    beside(threads, || _ = spin(20_000), during)
}

/// Has `threads` threads `work` again and again, each in a span, while `during` runs.
pub(crate) fn beside<T>(threads: usize, work: impl Fn() + Sync, during: impl FnOnce() -> T) -> T {
    /// Ends the threads also when `during` panics: the scope waits for them.
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _over = Over(&over);
        for _ in 0..threads {
            scope.spawn(|| {
                let _span = tracing::info_span!("busy").entered();
                while !over.load(Ordering::Relaxed) {
                    work();
                }
            });
        }
        during()
    })
}

/// Computes. A sample in it has a stack that ends in `storms::work::spin`.
#[inline(never)]
pub(crate) fn spin(rounds: u64) -> u64 {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for _ in 0..rounds {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    black_box(state)
}

/// Panics that are caught: the unwinder of the language runs, and is interrupted all the time.
pub(crate) fn panics() {
    panic::set_hook(Box::new(|_| {}));
    let watched = Watched::start();
    storm_on(4, || {
        let caught = catch_unwind(AssertUnwindSafe(|| dive(black_box(12))));
        assert!(caught.is_err());
    });
    let _hook = panic::take_hook();
    let figures = watched.finish();
    figures.check(0.9);
    let unwinding = figures.of(|row| row.mentions("_Unwind_"));
    let seen = figures.of(|row| row.span == "storm" && !row.is_unready());
    let whole = figures.of(|row| row.span == "storm" && row.mentions("storms::work::storm_on"));
    let share = |part: Duration, all: Duration| part.as_secs_f64() / all.as_secs_f64();
    println!(
        "whole stacks {:.4} of those seen, inside the language's unwinder {:.2}",
        share(whole, seen),
        share(unwinding, seen)
    );
    // In a short run a few stacks make a percent.
    assert!(share(whole, seen) > if is_full() { 0.97 } else { 0.9 });
    assert!(share(unwinding, seen) > 0.05, "it was not the unwinder that was sampled: {:#?}", figures.rows);
}

#[inline(never)]
fn dive(depth: u32) -> u64 {
    /// A cleanup at every level, so that the unwinder stops and goes on.
    struct Level(Vec<u32>);
    impl Drop for Level {
        fn drop(&mut self) {
            black_box(&self.0);
        }
    }
    let level = Level(vec![depth]);
    if depth == 0 {
        panic!("on purpose");
    }
    dive(depth - 1) + u64::from(level.0[0])
}

/// Allocations of all sizes, freed on other threads too.
pub(crate) fn allocations() {
    let watched = Watched::start();
    let shared: [std::sync::Mutex<Vec<Vec<u8>>>; 4] = std::array::from_fn(|_| Default::default());
    storm_on(4, || {
        for size in (0..400usize).map(|i| 1 << (i % 18)) {
            let mut block = vec![0u8; size];
            block.reserve(size);
            block.push(1);
            let mut swap = shared[size.trailing_zeros() as usize % 4].lock().unwrap();
            swap.push(black_box(block));
            if swap.len() > 32 {
                swap.clear();
            }
        }
    });
    let figures = watched.finish();
    figures.check(0.9);
    let inside = figures.of(|row| {
        row.functions.first().is_some_and(|leaf| {
            ["malloc", "free", "calloc", "realloc", "memset", "unlink", "madvise", "mmap", "munmap", "brk"]
                .iter()
                .any(|name| leaf.contains(name))
        })
    });
    assert!(inside > figures.cpu / 20, "the allocator itself was seen for {inside:?}");
}

/// Waits until `ready`, for as long as a busy machine may need.
pub(crate) fn until(what: &str, mut ready: impl FnMut() -> bool) {
    let start = Instant::now();
    while !ready() {
        assert!(start.elapsed() < Duration::from_secs(60), "waited in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A bit of everything: panics, allocations, spans.
pub(crate) fn dive_and_allocate() {
    let _span = tracing::info_span!("inner").entered();
    let vectors: Vec<Vec<u8>> = (0..20).map(|size| vec![1; 1 << (size % 12)]).collect();
    black_box(&vectors);
    panic::set_hook(Box::new(|_| {}));
    let _caught = catch_unwind(AssertUnwindSafe(|| dive(black_box(5))));
    spin(2_000);
}
