//! The two halves of a case: the test that starts a process and watches it, and what the process measures.

use profile_layer::{Profile, ProfileProcessor, Profiler, ProfilerBuilder, Result, StatsSnapshot};
use profile_tests::clock::process_cpu;
use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use tracing_subscriber::prelude::*;

/// Set in a child: the case it is to run.
const CASE: &str = "PROFILE_STORM_CASE";
/// How long to wait for a profile.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// How many seconds a storm lasts.
const SECONDS: &str = "PROFILE_STORM_SECONDS";
/// The frequency of all storms: four times the kernel's usual tick, and not a multiple of it.
pub(crate) const HERTZ: u32 = 997;

/// In the test: runs the case `name`, which is the test's own name, in a child, and fails as it does. In the child:
/// runs it.
pub(crate) fn storm(name: &str, case: fn()) {
    match std::env::var(CASE) {
        Ok(wanted) if wanted == name => case(),
        Ok(_) => {}
        Err(_) => supervise(name),
    }
}

/// How long a storm lasts.
pub(crate) fn length() -> Duration {
    let seconds = std::env::var(SECONDS).map_or(1.0, |value| value.parse().expect(SECONDS));
    Duration::from_secs_f64(seconds)
}

/// When something that began when `new` was called has lasted long enough: `length`, and until the process has used as
/// much CPU time, since on a crowded machine little happens in a second.
pub(crate) struct LongEnough {
    end: Instant,
    cpu: Duration,
    patience: Instant,
}

impl LongEnough {
    pub(crate) fn new(length: Duration) -> Self {
        let now = Instant::now();
        let cpu = process_cpu().unwrap() + length;
        Self { end: now + length, cpu, patience: now + length * 2 + Duration::from_secs(30) }
    }

    pub(crate) fn is_over(&self) -> bool {
        let now = Instant::now();
        now >= self.end && (now >= self.patience || process_cpu().unwrap() >= self.cpu)
    }
}

/// Lets the process's other threads work for so long.
pub(crate) fn pass(length: Duration) {
    let enough = LongEnough::new(length);
    while !enough.is_over() {
        thread::sleep(Duration::from_millis(10));
    }
}

/// Whether storms run at full length.
pub(crate) fn is_full() -> bool {
    length() >= Duration::from_secs(30)
}

fn supervise(name: &str) {
    let (ended, output) = run_case(name, |_| ());
    // One line a storm, also when all is well: libtest shows it with --nocapture.
    println!("{}", output.trim_end());
    assert_eq!(ended, Ended::Well, "{name}: {output}");
}

/// Runs the case `name` in a child with more `settings`; with what it said.
pub(crate) fn run_case(name: &str, settings: impl FnOnce(&mut Command)) -> (Ended, String) {
    // One at a time: they use all processors, and some count what the whole machine has.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut command = this_program(name);
    command.env(CASE, name);
    settings(&mut command);
    run(command, length() * 4 + Duration::from_secs(240))
}

/// This very test program, set to run the test `name` alone.
pub(crate) fn this_program(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture", "--test-threads=1", "-q"]);
    for (variable, _) in std::env::vars() {
        if variable.starts_with("OTEL_") || (variable.starts_with("PROFILE_") && variable != SECONDS) {
            command.env_remove(variable);
        }
    }
    if let Some(skips) = std::env::var_os(profile_tests::skip::SKIPS_FILE) {
        command.env(profile_tests::skip::SKIPS_FILE, skips);
    }
    command
}

/// How a process ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Well,
    Badly(String),
    Hung(Duration),
}

/// Runs a program to its end, for at most `limit`; with what it said on both outputs.
pub(crate) fn run(mut command: Command, limit: Duration) -> (Ended, String) {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let out = collect(child.stdout.take().unwrap());
    let err = collect(child.stderr.take().unwrap());
    let ended = wait(&mut child, limit);
    let output = format!("{}{}", out.join().unwrap(), err.join().unwrap());
    (ended, output)
}

fn collect(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn wait(child: &mut Child, limit: Duration) -> Ended {
    let start = Instant::now();
    while start.elapsed() < limit {
        if let Some(status) = child.try_wait().unwrap() {
            return if status.success() { Ended::Well } else { Ended::Badly(status.to_string()) };
        }
        thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    Ended::Hung(limit)
}

/// A profiler that is watched: everything it says is added up and held against the process's own CPU clock.
pub(crate) struct Watched {
    pub(crate) profiler: Profiler,
    sums: Sums,
    /// CPU time of the process when the profiler was started.
    cpu: Duration,
}

/// Everything that came out of the profiler.
#[derive(Clone, Default)]
pub(crate) struct Sums(Arc<Mutex<BTreeMap<Row, u64>>>);

/// One stack, outermost function last, and what was around it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    pub(crate) functions: Vec<String>,
    pub(crate) span: &'static str,
    pub(crate) region: &'static str,
    pub(crate) is_labelled: bool,
    pub(crate) is_loss: bool,
}

/// What a storm comes to.
#[derive(Debug)]
pub(crate) struct Figures {
    /// What the process used while it was profiled.
    pub(crate) cpu: Duration,
    /// What the samples stand for.
    pub(crate) sampled: Duration,
    /// What is exported without a stack, by reason.
    pub(crate) lost: BTreeMap<String, Duration>,
    pub(crate) stats: StatsSnapshot,
    pub(crate) rows: BTreeMap<Row, u64>,
}

impl Watched {
    /// Starts a profiler at [`HERTZ`], and makes its layer the process's subscriber.
    pub(crate) fn start() -> Self {
        Self::start_with(|builder| builder)
    }

    /// The same, with more settings.
    pub(crate) fn start_with(
        settings: impl FnOnce(ProfilerBuilder<Profiler>) -> ProfilerBuilder<Profiler>,
    ) -> Self {
        let sums = Sums::default();
        let cpu = process_cpu().unwrap();
        let builder = Profiler::builder().with_frequency(HERTZ).with_window(Duration::from_secs(1));
        let profiler = settings(builder.with_processor(sums.clone())).build().unwrap();
        tracing_subscriber::registry().with(profiler.layer()).init();
        Self { profiler, sums, cpu }
    }

    /// What came out of it so far.
    pub(crate) fn rows(&self) -> BTreeMap<Row, u64> {
        self.sums.rows()
    }

    /// Stops the profiler and says what came of it. Nothing else should be using CPU time by now.
    pub(crate) fn finish(self) -> Figures {
        let end = process_cpu().unwrap();
        // With more patience than a program has: an unoptimised profiler on a crowded machine needs it.
        self.profiler.shutdown_with_timeout(PATIENCE).unwrap();
        let (stats, rows) = (self.profiler.stats(), self.sums.rows());
        Figures::new(end.checked_sub(self.cpu).unwrap(), stats, rows)
    }
}

impl Sums {
    pub(crate) fn rows(&self) -> BTreeMap<Row, u64> {
        self.0.lock().unwrap().clone()
    }
}

impl ProfileProcessor for Sums {
    fn on_profile(&self, profile: Arc<Profile>) {
        let mut rows = self.0.lock().unwrap();
        for sample in profile.samples() {
            let functions = sample.frames().map(|frame| frame.to_string()).collect();
            let context = sample.context();
            let row = Row {
                functions,
                span: context.span.name(),
                region: context.region.name(),
                is_labelled: context.labels.iter().next().is_some(),
                is_loss: sample.is_loss(),
            };
            *rows.entry(row).or_default() += sample.weight();
        }
    }

    fn force_flush(&self, _: Duration) -> Result<()> {
        Ok(())
    }

    fn shutdown(&self, _: Duration) -> Result<()> {
        Ok(())
    }
}

/// By how much the timers of a storm's threads may be behind when they end, where many others compete for the processors: see
/// "The tick" in docs/PLATFORM.md.
const BEHIND: Duration = Duration::from_millis(300);

/// CPU time of so many periods.
pub(crate) fn periods(weight: u64) -> Duration {
    Duration::from_secs_f64(weight as f64 / f64::from(HERTZ))
}

impl Row {
    /// Whether it was taken before the unwind tables were ready: the leaf only.
    pub(crate) fn is_unready(&self) -> bool {
        self.mentions("[truncated: unwind tables not ready]")
    }

    /// Whether a function's name contains `part`.
    pub(crate) fn mentions(&self, part: &str) -> bool {
        self.functions.iter().any(|function| function.contains(part))
    }
}

/// The CPU time of the rows that `wanted` selects.
pub(crate) fn total(rows: &BTreeMap<Row, u64>, wanted: impl Fn(&Row) -> bool) -> Duration {
    periods(rows.iter().filter(|(row, _)| wanted(row)).map(|(_, weight)| weight).sum())
}

impl Figures {
    fn new(cpu: Duration, stats: StatsSnapshot, rows: BTreeMap<Row, u64>) -> Self {
        let mut lost = BTreeMap::new();
        for (row, weight) in rows.iter().filter(|(row, _)| row.is_loss) {
            *lost.entry(row.functions[0].clone()).or_default() += periods(*weight);
        }
        let sampled = total(&rows, |row| !row.is_loss);
        Self { cpu, sampled, lost, stats, rows }
    }

    /// CPU time of the samples whose row is `wanted`.
    pub(crate) fn of(&self, wanted: impl Fn(&Row) -> bool) -> Duration {
        total(&self.rows, wanted)
    }

    /// CPU time lost for `reason`, the name of the loss's frame.
    pub(crate) fn lost(&self, reason: &str) -> Duration {
        self.lost.get(reason).copied().unwrap_or_default()
    }

    /// What all storms must come to: samples and losses add up to the CPU time, `share` of it was sampled, and enough samples
    /// were taken to mean something. A window that was sampled, but not symbolised in time, counts: this machine may be slow.
    pub(crate) fn check(&self, share: f64) -> &Self {
        println!("{self}");
        let exported = self.sampled + self.lost.values().sum::<Duration>();
        // 2 % and 40 periods: each thread's timer is off by up to one, and clocks are not read at the same instant.
        let tolerance = self.cpu.mul_f64(0.02) + periods(40);
        assert!(exported.abs_diff(self.cpu) <= tolerance, "{exported:?} exported of {:?}", self.cpu);
        let sampled = self.sampled + self.lost("[lost: symbolising too slow]");
        assert!(sampled + BEHIND >= self.cpu.mul_f64(share), "{sampled:?} sampled of {:?}", self.cpu);
        // The kernel's tick is 100 Hz at least, and delivers one sample with a weight; a crowded machine seldom hits.
        let least = (self.sampled.as_secs_f64() * 20.0) as u64;
        assert!(self.stats.samples_taken >= least.max(10), "{} samples", self.stats.samples_taken);
        assert_eq!(self.stats.corrupt_words, 0);
        self
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |time: Duration| time.as_secs_f64();
        let exported = self.sampled + self.lost.values().sum::<Duration>();
        let stats = &self.stats;
        write!(
            f,
            "CPU {:.2} s, exported/CPU {:.3}, samples {} for {:.2} s, broken {}, truncated {}, unready {}",
            seconds(self.cpu),
            seconds(exported) / seconds(self.cpu),
            stats.samples_taken,
            seconds(self.sampled),
            stats.broken_stacks,
            stats.truncated_stacks,
            stats.unready_stacks,
        )?;
        self.lost.iter().try_for_each(|(reason, time)| write!(f, ", {reason} {:.3} s", seconds(*time)))
    }
}
