//! Processes that fork, and that become another program.

use crate::harness::{self, Ended, Watched, is_full, length, this_program};
use crate::os;
use crate::work::{beside_busy_threads, spin};
use profile_layer::{ExportError, ExportReceipt, ProfileBatch, ProfileExporter, Profiler};
use profile_tests::clock::{burn, process_cpu};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tracing_subscriber::prelude::*;

/// In the child of [`exec`]: what to do before the exec.
pub(crate) const EXEC_INNER: &str = "PROFILE_STORM_EXEC";

const PATIENCE: Duration = Duration::from_secs(60);

/// Writes down who exports.
struct Witness {
    log: File,
    owner: &'static str,
}

impl Witness {
    fn new(path: &Path, owner: &'static str) -> Self {
        Self { log: OpenOptions::new().create(true).append(true).open(path).unwrap(), owner }
    }
}

impl ProfileExporter for Witness {
    fn name(&self) -> &str {
        self.owner
    }

    fn export(&mut self, batch: &ProfileBatch, _: Instant) -> Result<ExportReceipt, ExportError> {
        let line = format!("{} {} {}\n", self.owner, std::process::id(), batch.profiles().len());
        self.log.write_all(line.as_bytes()).unwrap();
        Ok(ExportReceipt::new(line.len() as u64))
    }
}

/// Children that shut the inherited profiler down and start one of their own, while the parent is sampled.
pub(crate) fn children() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let watched = Watched::start_with(|builder| builder.with_exporter(Witness::new(&log, "parent")));
    let (wanted, end) = (if is_full() { 100 } else { 4 }, Instant::now() + length());
    let mut born = 0;
    beside_busy_threads(3, || {
        while born < wanted || Instant::now() < end {
            // The window of the parent's collector is left at a different place each time.
            spin(1_000 * (born % 7));
            let child = os::fork();
            if child == 0 {
                let done = catch_unwind(AssertUnwindSafe(|| child_of(&watched, &log)));
                os::exit(done.unwrap_or(99));
            }
            let code = os::wait(child, PATIENCE);
            assert_eq!(code, Some(0), "child {born}: {}", meaning(code));
            born += 1;
        }
    });
    watched.finish().check(0.7);
    let mut lines = String::new();
    File::open(&log).unwrap().read_to_string(&mut lines).unwrap();
    let parent = std::process::id().to_string();
    let of = |owner: &str| {
        let lines = lines.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        lines.filter(|words| words[0] == owner).map(|words| words[1].to_owned()).collect::<Vec<_>>()
    };
    let (parents, childrens) = (of("parent"), of("child"));
    println!("{born} children, {} exports of theirs, {} of the parent", childrens.len(), parents.len());
    assert!(parents.iter().all(|pid| *pid == parent), "a child exported what was inherited: {parents:?}");
    assert!(childrens.len() >= born as usize && childrens.iter().all(|pid| *pid != parent));
}

fn meaning(code: Option<i32>) -> &'static str {
    match code {
        None => "killed by a signal, or hung",
        Some(1) => "the inherited profiler's shutdown took its time",
        Some(2) => "the inherited collector ran",
        Some(3) => "the inherited collector could be started",
        Some(4) => "its own profiler did not start",
        Some(5) => "too few samples of its own",
        Some(6) => "samples outside its span",
        Some(7) => "its own profiler did not shut down",
        Some(8) => "dropping the inherited profiler took its time",
        Some(9) => "samples that the child did not take",
        Some(10) => "the total is not the CPU time",
        _ => "panicked",
    }
}

fn child_of(watched: &Watched, log: &Path) -> i32 {
    let start = Instant::now();
    let inherited = &watched.profiler;
    let _ = inherited.force_flush(PATIENCE);
    let _ = inherited.collect(PATIENCE);
    if inherited.shutdown().is_err() || inherited.status().sampling {
        return 2;
    }
    let _ = (inherited.report(), inherited.stats(), format!("{inherited:?}"));
    if start.elapsed() > Duration::from_secs(2) {
        return 1;
    }
    if inherited.collector().start().is_ok() {
        return 3;
    }
    child_profiles(log)
}

/// The layer is the parent's: a program cannot change its subscriber. It goes on for whoever profiles now.
fn child_profiles(log: &Path) -> i32 {
    let sums = harness::Sums::default();
    let own = Profiler::builder()
        .with_frequency(harness::HERTZ)
        .with_processor(sums.clone())
        .with_exporter(Witness::new(log, "child"))
        .build();
    let Ok(own) = own else { return 4 };
    let before = process_cpu().unwrap();
    let over = AtomicBool::new(false);
    let is_sampled = || {
        let _ = own.collect(PATIENCE);
        let rows = sums.rows();
        [true, false].iter().all(|other| seen_on(*other, &rows) > Duration::from_millis(50))
    };
    // On the forking thread and on a new one, until both were seen for a while. Where many threads share the processors, a
    // timer can be many ticks behind its thread: see "The tick" in docs/PLATFORM.md.
    let used = std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let _span = tracing::info_span!("child").entered();
            elsewhere(&over)
        });
        let _span = tracing::info_span!("child").entered();
        let mut used = Duration::ZERO;
        while used.is_zero() || (used < LONG_ENOUGH && !is_sampled()) {
            used += burn(Duration::from_millis(150)).unwrap();
        }
        over.store(true, Ordering::Relaxed);
        used + other.join().unwrap()
    });
    let cpu = process_cpu().unwrap().checked_sub(before).unwrap();
    if own.shutdown_with_timeout(PATIENCE).is_err() {
        return 7;
    }
    let rows = sums.rows();
    let (seen, exported) = (seen_on(true, &rows) + seen_on(false, &rows), harness::total(&rows, |_| true));
    let code = if seen < Duration::from_millis(100) {
        5
    } else if harness::total(&rows, |row| row.span == "busy") > Duration::ZERO {
        6
    } else if seen > used.mul_f64(1.05) + harness::periods(40) {
        9
    } else if exported.abs_diff(cpu) > cpu.mul_f64(0.05) + harness::periods(60) {
        10
    } else {
        0
    };
    if code != 0 {
        println!("{seen:?} seen of {used:?}, {exported:?} exported of {cpu:?}: {}", summary(&rows));
    }
    code
}

/// The CPU time that a child's two threads have together at most: the new one uses as much as the other.
const LONG_ENOUGH: Duration = Duration::from_secs(4);

/// What the child's new thread does.
#[inline(never)]
fn elsewhere(over: &AtomicBool) -> Duration {
    let mut used = Duration::ZERO;
    while !over.load(Ordering::Relaxed) {
        used += burn(Duration::from_millis(5)).unwrap();
    }
    used
}

/// What was seen of one of the child's two threads. Samples from before the unwind tables were ready have no callers.
fn seen_on(other: bool, rows: &BTreeMap<harness::Row, u64>) -> Duration {
    let of = |row: &harness::Row| row.mentions("fork::elsewhere") == other;
    harness::total(rows, |row| !row.is_loss && row.span == "child" && row.mentions("clock::burn") && of(row))
}

/// Where the samples are, in one line.
fn summary(rows: &BTreeMap<harness::Row, u64>) -> String {
    let mut sums = BTreeMap::<String, u64>::new();
    for (row, weight) in rows {
        let thread = ["elsewhere", "child_profiles", "Worker", "Finisher"];
        let thread = thread.iter().find(|part| row.mentions(part)).copied().unwrap_or_default();
        let end = row.functions.last().filter(|end| end.starts_with('[')).cloned().unwrap_or_default();
        *sums.entry(format!("span {:?} in {thread:?} {end}", row.span)).or_default() += weight;
    }
    format!("{sums:?}")
}

/// Children that know nothing of the profiler: they run on, start threads that enter spans, make timers of their own,
/// panic, drop what they inherited.
pub(crate) fn indifferent_children() {
    let mut watched = Some(Watched::start());
    let (wanted, end) = (if is_full() { 100 } else { 10 }, Instant::now() + length());
    let mut born = 0;
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    beside_busy_threads(2, || {
        while born < wanted || Instant::now() < end {
            let child = os::fork();
            if child == 0 {
                let done = catch_unwind(AssertUnwindSafe(|| indifferent(&mut watched)));
                os::exit(done.unwrap_or(99));
            }
            let code = os::wait(child, PATIENCE);
            assert_eq!(code, Some(0), "child {born}: {}", meaning(code));
            born += 1;
        }
    });
    std::panic::set_hook(hook);
    watched.unwrap().finish().check(0.7);
}

fn indifferent(watched: &mut Option<Watched>) -> i32 {
    // The first timer of this process has a number that some thread of the parent's had.
    let own = os::Timer::start(Duration::from_millis(900));
    let threads: Vec<_> = (0..3)
        .map(|_| {
            std::thread::spawn(|| {
                let _span = tracing::info_span!("child").entered();
                spin(200_000)
            })
        })
        .collect();
    let _caught = catch_unwind(|| panic!("on purpose"));
    // Dropping the parent's threads must not touch the new ones, which may have the same addresses.
    let start = Instant::now();
    drop(watched.take());
    if start.elapsed() > Duration::from_secs(2) {
        return 8;
    }
    for thread in threads {
        thread.join().unwrap();
    }
    // The program's own timer is its own; there is no other.
    let timers = os::timers();
    drop(own);
    if timers.is_some_and(|count| count != 1) { 3 } else { 0 }
}

/// A process that is being sampled becomes another program, which runs on.
pub(crate) fn exec() {
    let (wanted, end) = (if is_full() { 100 } else { 10 }, Instant::now() + length());
    let mut done = 0;
    while done < wanted || Instant::now() < end {
        let mut command = this_program("exec_inner");
        command.env(EXEC_INNER, if done % 2 == 0 { "plain" } else { "pending" });
        let (ended, output) = harness::run(command, PATIENCE);
        assert_eq!(ended, Ended::Badly("exit status: 42".to_owned()), "exec {done}: {output}");
        done += 1;
    }
    println!("{done} programs ran on");
}

/// The program that becomes another. Half the time a signal of the profiler's is pending at that moment.
pub(crate) fn exec_inner() {
    let profiler = Profiler::builder().with_frequency(harness::HERTZ).build().unwrap();
    tracing_subscriber::registry().with(profiler.layer()).init();
    for _ in 0..2 {
        std::thread::spawn(|| {
            let _span = tracing::info_span!("busy").entered();
            loop {
                spin(10_000);
            }
        });
    }
    let _span = tracing::info_span!("exec").entered();
    burn(Duration::from_millis(30)).unwrap();
    if profiler.stats().samples_taken == 0 {
        profiler.collect(PATIENCE).unwrap().expect("samples before the exec");
    }
    if std::env::var_os(EXEC_INNER).is_some_and(|how| how == "pending") {
        os::block_sigprof(true);
        burn(Duration::from_millis(20)).unwrap();
    }
    // Long enough for a timer that had stayed to expire in the new program.
    let script = c"i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done; exit 42";
    panic!("{}", os::exec(c"/bin/sh", &[c"sh", c"-c", script]));
}
