//! The profile's total is the CPU time of the process, with one busy thread and with eight.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // Helpers of tests, outside of test functions.

use profile_layer::Profiler;
use profile_tests::clock::{burn, process_cpu};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(30);

/// Profiles a process in which `threads` threads burn `each` at once. Returns sampled CPU time ÷ CPU time of the process
/// since before the profiler was built, and how much of the sampled time has no samples.
fn measure(threads: u32, each: Duration) -> (f64, f64) {
    let before = process_cpu().unwrap();
    // The window is longer than the test, however slow the machine: the measurement is one window.
    let builder = Profiler::builder().with_service_name("magnitude").with_frequency(99);
    let profiler = builder.with_window(Duration::from_secs(60)).build().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| burn(each).unwrap());
        }
    });
    // Read before the window closes: what symbolising it costs belongs to the next.
    let used = (process_cpu().unwrap() - before).as_secs_f64();
    let profile = profiler.collect(TIMEOUT).unwrap().unwrap();
    profiler.shutdown().unwrap();
    let seconds = |weight: u64| (weight * profile.period_nanos()) as f64 / 1e9;
    let lost: u64 = profile.samples().filter(|sample| sample.is_loss()).map(|sample| sample.weight()).sum();
    (seconds(profile.total_weight()) / used, seconds(lost) / used)
}

#[test]
fn totals_agree_with_the_process_clock() {
    for (threads, each) in [(1, Duration::from_secs(4)), (8, Duration::from_secs(1))] {
        let (ratio, lost) = measure(threads, each);
        println!("{threads} threads: sampled / used = {ratio:.4}, of it without samples {lost:.4}");
        assert!((0.97..=1.03).contains(&ratio), "{threads} threads: sampled / used = {ratio:.4}");
        assert!(lost < 0.15, "{threads} threads: {lost:.4} of the CPU time has no samples");
    }
}
