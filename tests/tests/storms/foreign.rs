//! Others who use SIGPROF in the same process.

use crate::harness::{PATIENCE, Watched, length, pass, periods};
use crate::os;
use crate::work::{beside_busy_threads, spin, storm_on};
use profile_tests::clock::process_cpu;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Signals that the foreign handler got.
static FOREIGN: AtomicU64 = AtomicU64::new(0);
/// The handler that it replaced.
static REPLACED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn counts(_: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {
    FOREIGN.fetch_add(1, Ordering::Relaxed);
}

extern "C" fn counts_and_passes_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    FOREIGN.fetch_add(1, Ordering::Relaxed);
    os::call(REPLACED.load(Ordering::Relaxed), signal, info, context);
}

fn address(handler: os::Handler) -> usize {
    handler as *const () as usize
}

fn raised(times: u64) -> u64 {
    let before = FOREIGN.load(Ordering::Relaxed);
    (0..times).for_each(|_| os::raise_sigprof());
    FOREIGN.load(Ordering::Relaxed) - before
}

/// A handler that was there first gets every signal that is not the profiler's, and its place back at the end.
pub(crate) fn before() {
    os::handle_sigprof(counts);
    let watched = Watched::start();
    assert_ne!(os::sigprof(), address(counts));
    storm_on(2, || {
        spin(10_000);
        os::raise_sigprof();
    });
    assert_eq!(raised(100), 100, "passed on while sampling");
    let raised_in_all = FOREIGN.load(Ordering::Relaxed);
    watched.finish().check(0.9);
    assert_eq!(os::sigprof(), address(counts), "the former handler is back");
    assert_eq!(raised(100), 100);
    println!("{raised_in_all} foreign signals beside the samples");
}

/// A handler that came later and passes on what it does not know gets every signal, and so does the profiler; also after
/// a stop and a start, when a profiler that pushes itself in front would be called by the one it calls.
pub(crate) fn after() {
    let watched = Watched::start();
    let ours = os::handle_sigprof(counts_and_passes_on);
    REPLACED.store(ours, Ordering::Relaxed);
    let before = process_cpu().unwrap();
    storm_on(2, || {
        spin(10_000);
        os::raise_sigprof();
    });
    let cpu = process_cpu().unwrap() - before;
    // So that little is left to be finished at each stop.
    watched.profiler.collect(PATIENCE).unwrap();
    let collector = watched.profiler.collector();
    for _ in 0..5 {
        collector.stop().unwrap();
        assert_eq!(os::sigprof(), address(counts_and_passes_on), "not taken from its later owner");
        assert_eq!(raised(10), 10, "while stopped");
        collector.start().unwrap();
        assert_eq!(raised(10), 10, "once each, and no end of passing on");
        beside_busy_threads(2, || pass(Duration::from_millis(50)));
    }
    assert_eq!(watched.profiler.status().problems, Vec::<String>::new());
    let figures = watched.finish();
    println!("{figures}, {} signals through the foreign handler", FOREIGN.load(Ordering::Relaxed));
    let storm = figures.of(|row| !row.is_loss && row.span == "storm");
    assert!(storm > cpu / 2, "sampled through the foreign handler: {storm:?} of {cpu:?}");
    assert_eq!((os::sigprof(), raised(10)), (address(counts_and_passes_on), 10));
}

/// A handler that came later and passes nothing on takes the samples away: the profiler says so, and the CPU time is
/// exported all the same.
pub(crate) fn greedy() {
    let watched = Watched::start();
    beside_busy_threads(1, || pass(Duration::from_millis(300)));
    os::handle_sigprof(counts);
    beside_busy_threads(2, || pass(length()));
    let problems = watched.profiler.status().problems;
    assert!(problems.iter().any(|problem| problem.contains("SIGPROF")), "{problems:?}");
    let figures = watched.finish();
    figures.check(0.01);
    assert_eq!(os::sigprof(), address(counts));
    assert!(figures.lost("[unsampled]") > figures.cpu / 4, "not for the reason that it does not have");
}

/// Another library restores the default action, or has the signal ignored: the profiler comes back.
pub(crate) fn taken_away() {
    let watched = Watched::start();
    for _ in 0..3 {
        // Not SIG_DFL, which kills the process at the very next signal: that nobody can survive.
        os::set_sigprof(libc::SIG_IGN);
        beside_busy_threads(2, || pass(Duration::from_millis(300).max(length() / 5)));
    }
    let status = watched.profiler.status();
    assert_eq!(status.problems, Vec::<String>::new());
    let figures = watched.finish();
    figures.check(0.2);
    os::raise_sigprof(); // survives
}

/// `setitimer` and a foreign POSIX timer with the same signal, at the same time.
pub(crate) fn timers() {
    os::handle_sigprof(counts);
    let watched = Watched::start();
    let timer = os::Timer::start(Duration::from_millis(3));
    os::itimer_prof(Duration::from_millis(5));
    storm_on(3, || {
        spin(10_000);
    });
    os::itimer_prof(Duration::ZERO);
    drop(timer);
    let foreign = FOREIGN.load(Ordering::Relaxed);
    let figures = watched.finish();
    figures.check(0.9);
    println!("{foreign} foreign signals beside the samples");
    let expected = figures.cpu.as_secs_f64() / 0.005;
    assert!(foreign as f64 > expected / 4.0, "{foreign} foreign signals, of some {expected}");
    assert!(figures.sampled < figures.cpu + periods(100), "foreign signals are no samples");
}
