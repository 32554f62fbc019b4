//! Totals are true: the weights of a profile, times the period, are the CPU time of the process, by the process's own
//! clock.
//!
//! `PROFILE_ACCURACY_FACTOR` makes every measurement so many times as long; the default is what a test run can afford.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // Helpers of tests, outside of test functions.

use profile_layer::Profiler;
use profile_tests::accuracy::{factor, retried};
use profile_tests::clock::{burn, process_cpu};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tracing_subscriber::prelude::*;

const TIMEOUT: Duration = Duration::from_secs(60);
/// How far a total may be from the clock, as a share.
const TOLERANCE: f64 = 0.02;
/// How long a thread may run without being found by a tick, in seconds of its CPU time: ten usual ticks.
const LATE: f64 = 0.04;

/// A process has one profiler, and its clock counts everything: these tests take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a profile came to, as shares of the CPU time that the process used since before the profiler was built.
#[derive(Debug)]
#[allow(dead_code)] // all of it is printed
struct Shares {
    /// All weights.
    total: f64,
    /// Of these, what has no samples.
    lost: f64,
    /// The losses by their names, in seconds.
    reasons: Vec<(String, f64)>,
    /// The CPU time, in seconds.
    used: f64,
}

/// Profiles the process at `hertz` while `work` runs.
fn measure(hertz: u32, work: impl FnOnce()) -> Shares {
    let before = process_cpu().unwrap();
    // The window is longer than the test, however slow the machine: the measurement is one window.
    let builder = Profiler::builder().with_service_name("magnitude").with_frequency(hertz);
    let profiler = builder.with_window(Duration::from_secs(60)).build().unwrap();
    tracing::dispatcher::with_default(&tracing_subscriber::registry().with(profiler.layer()).into(), work);
    // Read before the window closes: what symbolising it costs belongs to the next.
    let used = (process_cpu().unwrap() - before).as_secs_f64();
    let profile = profiler.collect(TIMEOUT).unwrap().unwrap();
    profiler.shutdown().unwrap();
    let share = |weight: u64| (weight * profile.period_nanos()) as f64 / 1e9 / used;
    let losses = || profile.samples().filter(|sample| sample.is_loss());
    let reasons = losses()
        .flat_map(|loss| loss.frames().map(move |frame| (frame.to_string(), share(loss.weight()) * used)));
    let lost = share(losses().map(|sample| sample.weight()).sum());
    Shares { total: share(profile.total_weight()), lost, reasons: reasons.collect(), used }
}

/// Runs `work` on so many threads at once, each in a span of its own, so that it is sampled from its start.
fn on_threads(threads: u32, work: impl Fn() + Sync) {
    let subscriber = tracing::dispatcher::get_default(Clone::clone);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                tracing::dispatcher::with_default(&subscriber, || {
                    tracing::info_span!("busy").in_scope(&work);
                });
            });
        }
    });
}

/// Busy threads. What is not told from sampling error is not exported as missing: three standard deviations of one period
/// for each timer, and what came due since the last tick. The CPU times are chosen so that this is less than the tolerance.
fn totals(hertz: u32, seconds: [f64; 3]) {
    let _turn = turn();
    for (threads, seconds) in [1, 8, 32].into_iter().zip(seconds) {
        let each = Duration::from_secs_f64(seconds * factor() / f64::from(threads));
        retried(3, || {
            let shares = measure(hertz, || on_threads(threads, || assert!(burn(each).unwrap() >= each)));
            println!("{hertz} Hz, {threads} threads: {shares:.4?}");
            let is_true = (shares.total - 1.0).abs() <= TOLERANCE;
            // What is lost is said, and is little: what a thread does after its last tick, and what it did before the
            // unwind tables were ready.
            let is_seen = shares.lost * shares.used <= f64::from(threads) * LATE + 0.02 * shares.used;
            if is_true && is_seen {
                Ok(())
            } else {
                Err(format!("{hertz} Hz, {threads} threads: {shares:?}"))
            }
        });
    }
}

#[test]
fn totals_agree_with_the_process_clock_at_99_hz() {
    totals(99, [2.5, 4.0, 6.5]);
}

#[test]
fn totals_agree_with_the_process_clock_at_250_hz() {
    totals(250, [1.4, 3.0, 6.0]);
}

#[test]
fn totals_agree_with_the_process_clock_at_997_hz() {
    totals(997, [0.8, 1.6, 4.0]);
}

/// Threads too short for the kernel's tick, half of them in spans: one in ten of their periods is sampled, and the rest is
/// exported as what it is.
#[test]
fn four_thousand_threads_of_a_millisecond_sum_up() {
    let _turn = turn();
    let threads = (4000.0 * factor()) as u32;
    let millisecond = || assert!(burn(Duration::from_millis(1)).unwrap() >= Duration::from_millis(1));
    retried(3, || {
        let shares = measure(99, || {
            for _ in 0..threads / 8 {
                on_threads(4, millisecond);
                std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(millisecond))));
            }
        });
        println!("{threads} threads of 1 ms: {shares:.4?}");
        if (shares.total - 1.0).abs() <= TOLERANCE { Ok(()) } else { Err(format!("{shares:?}")) }
    });
}
