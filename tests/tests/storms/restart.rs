//! Profilers that start and stop all the time.

use crate::harness::{HERTZ, PATIENCE, Watched, is_full};
use crate::os;
use crate::work::{beside_busy_threads, until};
use profile_layer::Profiler;
use profile_tests::clock::process_cpu;
use std::thread;
use std::time::Duration;

/// One collector, started and stopped under load.
pub(crate) fn start_and_stop() {
    let watched = Watched::start();
    let times = if is_full() { 1_000 } else { 200 };
    let mut off = Duration::ZERO;
    beside_busy_threads(3, || {
        for time in 0..times {
            thread::sleep(Duration::from_millis([0, 1, 5, 20][time % 4]));
            let stopping = process_cpu().unwrap();
            watched.profiler.collector().stop().unwrap();
            if time % 16 == 0 {
                assert!(os::timers().is_none_or(|left| left == 0), "{:?} timers left", os::timers());
                let taken = watched.profiler.stats().samples_taken;
                thread::sleep(Duration::from_millis(10));
                assert_eq!(watched.profiler.stats().samples_taken, taken, "sampled while stopped");
            }
            watched.profiler.collector().start().unwrap();
            off += process_cpu().unwrap() - stopping;
        }
    });
    let figures = watched.finish();
    println!("{times} starts, {off:.2?} of CPU while it stopped, was stopped or started; {figures}");
    let exported = figures.sampled + figures.lost.values().sum::<Duration>();
    let on = figures.cpu - off;
    // The time of stopping and starting is partly on, partly off; and each run has errors of its own, of some periods.
    let tolerance = on.mul_f64(0.02) + Duration::from_millis(5) * times as u32;
    assert!(exported + tolerance >= on && exported <= figures.cpu + tolerance, "{exported:?} of {on:?}");
    // Most runs are shorter than the threads' turns and the kernel's tick.
    assert!(figures.stats.samples_taken > 5, "{:?} of {on:?}", figures.sampled);
}

/// Whole profilers, one after the other; the threads that were there keep being sampled.
pub(crate) fn build_and_drop() {
    let times = if is_full() { 200 } else { 8 };
    let threads_before = thread_count();
    let mut samples = 0;
    beside_busy_threads(2, || {
        for _ in 0..times {
            let profiler = Profiler::builder().with_frequency(HERTZ).build().unwrap();
            thread::sleep(Duration::from_millis(20));
            until("a sample", || {
                profiler.collect(PATIENCE).unwrap();
                profiler.stats().samples_taken > 0
            });
            assert!(Profiler::builder().build().is_err(), "two at a time");
            samples += profiler.stats().samples_taken;
        }
    });
    println!("{times} profilers, {samples} samples");
    until("the profilers' threads are gone", || thread_count() <= threads_before);
    assert!(os::timers().is_none_or(|left| left == 0));
}

fn thread_count() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}
