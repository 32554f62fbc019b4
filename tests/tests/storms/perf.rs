//! The perf engine: where it is permitted, where it is not, and what it is for.

use crate::harness::{self, HERTZ, PATIENCE, Row, Sums, Watched, is_full, length};
use crate::os;
use crate::work::{beside_busy_threads, spin};
use profile_layer::{Engine, Profiler};
use profile_tests::clock::thread_cpu;
use profile_tests::skip::skip;
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Says why there are no perf events, if there are none.
pub(crate) fn is_permitted(test: &str, profiler: &Profiler) -> bool {
    let status = profiler.status();
    if status.engine != Engine::Perf {
        assert!(status.problems.iter().any(|problem| problem.contains("perf events are")), "{status}");
        skip(test, &status.problems.join("; "));
    }
    status.engine == Engine::Perf
}

/// Threads come and go, children are forked; every period is hit by itself, and no event stays behind.
pub(crate) fn events() {
    let watched = Watched::start_with(|builder| builder.with_engine(Engine::Perf));
    if !is_permitted("perf_events_instead_of_timers", &watched.profiler) {
        return;
    }
    let (wanted, end) =
        (if is_full() { 100 } else { 10 }, Instant::now() + length().max(Duration::from_secs(2)));
    let mut born = 0;
    beside_busy_threads(2, || {
        while born < wanted || Instant::now() < end {
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        let _span = tracing::info_span!("short").entered();
                        spin(20_000)
                    });
                }
            });
            let child = os::fork();
            if child == 0 {
                os::exit(os::perf_files().min(100) as i32);
            }
            assert_eq!(os::wait(child, PATIENCE), Some(0), "the child has files of its parent's events");
            born += 1;
        }
    });
    let while_running = os::perf_files();
    let figures = watched.finish();
    figures.check(0.7);
    let (samples, weight) = (figures.stats.samples_taken, figures.stats.weight_taken);
    println!("{born} children, {while_running} events at the end, {samples} samples for {weight} periods");
    assert!(while_running > 0 && os::perf_files() == 0, "{} files are left", os::perf_files());
    // Timers would be looked at on the tick, a quarter of this at 250 Hz.
    assert!(samples * 10 >= weight * 6, "{samples} samples for {weight} periods");
    let work = figures.of(|row| row.span == "busy" && !row.is_unready());
    let whole = figures.of(|row| row.span == "busy" && row.mentions("beside_busy_threads"));
    assert!(work > figures.cpu / 10 && whole > work.mul_f64(0.9), "{whole:?} of {work:?} in whole stacks");
}

/// An ordinary user may see user space only, or nothing: the profile says so, and totals are true.
pub(crate) fn user_space() {
    const TEST: &str = "perf_for_user_space_only";
    if !os::become_nobody() {
        return skip(TEST, "perf events are permitted: only root can become a user who has them not");
    }
    let auto = Profiler::builder().with_engine(Engine::Auto).build().unwrap();
    let status = auto.status();
    auto.shutdown_with_timeout(PATIENCE).unwrap();
    println!("auto: {status}; {:?}", status.remark);
    if status.engine == Engine::Perf {
        return skip(TEST, "perf events are permitted in full to every user here");
    }
    assert!(status.problems.is_empty(), "Auto has found what it looks for: {status}");
    assert!(status.remark.is_some_and(|remark| remark.contains("perf_event_paranoid")));
    let watched = Watched::start_with(|builder| builder.with_engine(Engine::Perf));
    let status = watched.profiler.status();
    println!("perf: {status}");
    assert_eq!(status.problems.len(), 1, "{status}");
    if status.engine == Engine::CpuTimer {
        watched.finish();
        return skip(TEST, &status.problems[0]);
    }
    let over = Instant::now() + length();
    let mut zeros = std::fs::File::open("/dev/zero").unwrap();
    let mut buffer = vec![0; 1 << 20];
    while Instant::now() < over {
        zeros.read_exact(&mut buffer).unwrap();
        spin(5_000);
    }
    let profile = watched.profiler.collect(PATIENCE).unwrap().unwrap();
    let notes: Vec<_> = profile.notes().collect();
    assert!(notes.iter().any(|note| note.contains("kernel")), "{notes:?}");
    let figures = watched.finish();
    figures.check(0.05);
    let kernel = figures.lost("[unsampled: kernel time not permitted]");
    assert!(kernel > figures.cpu / 20, "{kernel:?} of {:?} in the kernel", figures.cpu);
}

static OVER: AtomicBool = AtomicBool::new(false);

/// Work that is in step with the kernel's tick: a thread that wakes every 20 ms on the dot, and computes for one millisecond
/// in `early` and for one in `late`. CPU timers see one of the two or none; perf events see both alike.
pub(crate) fn in_step() {
    const TEST: &str = "work_in_step_with_the_tick";
    let mut aliased = false;
    for attempt in 0..4 {
        let timers = shares(Engine::CpuTimer, attempt);
        println!("timers: {timers:.2?}");
        aliased = timers.iter().flatten().any(|share| (share - 0.5).abs() > 0.35);
        if aliased {
            break;
        }
    }
    let shares = shares(Engine::Perf, 0);
    if shares.is_empty() {
        return;
    }
    println!("perf: {shares:.2?}");
    // Some hundred samples each: seven standard deviations.
    assert!(shares.iter().all(|share| share.is_some_and(|share| (share - 0.5).abs() < 0.2)), "{shares:?}");
    if !aliased {
        skip(
            TEST,
            "perf events are right, but this machine's tick is too fast or its load too high for timers to be wrong",
        );
    }
}

/// The share of `early` in the samples of each phase; nothing if the engine is not permitted, `None` for a phase with next to
/// no samples.
fn shares(engine: Engine, attempt: u64) -> Vec<Option<f64>> {
    let sums = Sums::default();
    let builder =
        Profiler::builder().with_engine(engine).with_frequency(HERTZ).with_window(Duration::from_secs(60));
    let profiler = builder.with_processor(sums.clone()).build().unwrap();
    if engine == Engine::Perf && !is_permitted("work_in_step_with_the_tick", &profiler) {
        return Vec::new();
    }
    OVER.store(false, Ordering::Relaxed);
    thread::scope(|scope| {
        for phase in [phase_0, phase_1, phase_2, phase_3] {
            scope.spawn(move || phase(attempt));
        }
        // They use two fifths of one processor.
        thread::sleep(length().max(Duration::from_secs(3)));
        OVER.store(true, Ordering::Relaxed);
    });
    profiler.shutdown_with_timeout(PATIENCE).unwrap();
    let rows = sums.rows();
    (0..4).map(|phase| share(&rows, &format!("perf::phase_{phase}"))).collect()
}

fn share(rows: &BTreeMap<Row, u64>, phase: &str) -> Option<f64> {
    let of = |part: &str| harness::total(rows, |row| row.mentions(phase) && row.mentions(part)).as_secs_f64();
    let (early, late) = (of("perf::early"), of("perf::late"));
    (early + late > 0.05).then(|| early / (early + late))
}

#[inline(never)]
fn phase_0(attempt: u64) {
    every_20_ms(0, attempt);
}

#[inline(never)]
fn phase_1(attempt: u64) {
    every_20_ms(1, attempt);
}

#[inline(never)]
fn phase_2(attempt: u64) {
    every_20_ms(2, attempt);
}

#[inline(never)]
fn phase_3(attempt: u64) {
    every_20_ms(3, attempt);
}

/// The phases are 5 ms apart, so that they do not meet, and lie at each quarter of a tick of 4 ms.
fn every_20_ms(phase: u64, attempt: u64) {
    // Where it is not allowed, the machine's load moves the work about.
    let _allowed = os::go_first();
    while !OVER.load(Ordering::Relaxed) {
        os::sleep_until_multiple(
            Duration::from_millis(20),
            Duration::from_micros(5_000 * phase + 300 * attempt),
        );
        early();
        late();
    }
}

#[inline(never)]
fn early() {
    compute();
    std::hint::black_box(0);
}

#[inline(never)]
fn late() {
    compute();
    std::hint::black_box(1);
}

/// A millisecond of CPU.
fn compute() {
    let end = thread_cpu().unwrap() + Duration::from_millis(1);
    while thread_cpu().unwrap() < end {
        spin(200);
    }
}
