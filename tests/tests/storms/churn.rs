//! Threads that live shortly, and threads with little room.

use crate::harness::{Watched, is_full, length, pass};
use crate::os;
use crate::work::{spin, until};
use std::ffi::c_void;
use std::hint::black_box;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

/// Threads come and go, eight at a time: some enter spans, some do not; they live from microseconds to milliseconds. A
/// thread that stays is there too, so that reused blocks would show.
pub(crate) fn threads() {
    let watched = Watched::start();
    let before = os::timers();
    let (wanted, end) = (if is_full() { 10_000 } else { 1_000 }, Instant::now() + length());
    let mut started = 0u64;
    while started < wanted || Instant::now() < end {
        thread::scope(|scope| {
            for number in started..started + 8 {
                scope.spawn(move || {
                    let span = (number % 3 != 0).then(|| tracing::info_span!("short").entered());
                    short(number);
                    drop(span);
                });
            }
        });
        started += 8;
    }
    // The scan takes the timers of the dead away.
    until("the timers of ended threads are gone", || watched.profiler.status().threads_sampled < 20);
    let after = os::timers();
    let figures = watched.finish();
    println!("{started} threads, timers before {before:?}, after {after:?}");
    figures.check(0.0);
    assert!(after.is_none_or(|after| after < 20), "{after:?} timers are left");
    let work = figures.of(|row| !row.is_loss && row.mentions("storms::churn::short"));
    let inside = figures.of(|row| row.span == "short");
    // Most are too short for the kernel's tick; those that were seen were seen where they were.
    assert!(work > figures.cpu / 10 && inside > work / 4, "{work:?} seen, {inside:?} inside spans");
    let strange =
        figures.of(|row| row.span == "short" && !row.is_unready() && !row.mentions("storms::churn::threads"));
    assert!(strange <= inside / 10, "{strange:?} of {inside:?} in foreign stacks");
}

#[inline(never)]
fn short(number: u64) {
    let result = spin(match number % 10 {
        0 => 2_000_000, // some milliseconds: one that the tick sees
        1..4 => 200_000,
        _ => 2_000,
    });
    black_box(result); // so that this is no tail call, which would leave this function out of the stack
}

static OVER: AtomicBool = AtomicBool::new(false);
static ROUNDS: AtomicU64 = AtomicU64::new(0);

/// Threads that have 16 KiB in all, and no other stack for signals.
pub(crate) fn small_stacks() {
    on_small_stacks(16 << 10, small, "storms::churn::small");
}

/// Threads whose signals run on 8 KiB of their own.
pub(crate) fn signal_stacks() {
    on_small_stacks(64 << 10, with_signal_stack, "storms::churn::with_signal_stack");
}

fn on_small_stacks(bytes: usize, work: extern "C" fn(*mut c_void) -> *mut c_void, name: &str) {
    let watched = Watched::start();
    let threads: Vec<_> = (0..4).map(|_| os::on_stack_of(bytes, work)).collect();
    pass(length());
    OVER.store(true, Ordering::Relaxed);
    threads.into_iter().for_each(os::Raw::join);
    let figures = watched.finish();
    // The scan finds these threads a fifth of a second after their start, if the machine has time for it.
    figures.check(if is_full() { 0.9 } else { 0.4 });
    let whole = figures.of(|row| row.mentions(name));
    assert!(ROUNDS.load(Ordering::Relaxed) > 0);
    let seen = figures.of(|row| row.mentions("storms::work::spin") && !row.is_unready());
    println!("whole stacks {:.4} of those seen", whole.as_secs_f64() / seen.as_secs_f64());
    let share = if is_full() { 0.98 } else { 0.9 };
    assert!(whole > seen.mul_f64(share), "{whole:?} of {seen:?} in whole stacks");
}

/// No spans here: `tracing` alone needs more room. The scan finds these threads.
#[inline(never)]
extern "C" fn small(_: *mut c_void) -> *mut c_void {
    while !OVER.load(Ordering::Relaxed) {
        black_box(spin(5_000));
        ROUNDS.fetch_add(1, Ordering::Relaxed);
    }
    ptr::null_mut()
}

#[inline(never)]
extern "C" fn with_signal_stack(argument: *mut c_void) -> *mut c_void {
    os::signal_stack(8 << 10);
    let end = small(argument);
    // Not a tail call, which would leave this function out of the stack.
    ROUNDS.fetch_add(1, Ordering::Relaxed);
    end
}
