//! What every profiler of the comparison is put through. Each has a program of its own, which is [`main`] over its
//! [`Subject`]; the program `compare` runs them all and makes the table.
//!
//! A program runs one measurement and prints what came of it as lines `name value`.

pub mod cost;
pub mod heap;
pub mod os;
pub mod report;
pub mod start;
pub mod threads;

use std::error::Error;
use std::time::{Duration, Instant};

/// What measurements return.
pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// One stack of a profile.
#[derive(Clone, Debug)]
pub struct Stack {
    /// The functions' names, leaf first.
    pub functions: Vec<String>,
    /// How many sampling periods it stands for.
    pub weight: u64,
    /// Whether it stands for what was not sampled.
    pub is_loss: bool,
}

/// A profiler.
pub trait Subject: Sized + Sync {
    /// What it finishes and encodes.
    type Report;

    /// Starts to sample the process so many times a second.
    ///
    /// # Errors
    /// Its own.
    fn start(hertz: u32) -> Result<Self>;

    /// Does work on a thread in the way that lets the profiler know about it, if it wants to.
    fn on_thread<T>(&self, work: impl FnOnce() -> T) -> T {
        work()
    }

    /// Waits until so many samples in all have been taken out of the buffers that signal handlers write to.
    fn drain(&self, _samples: u64) {}

    /// CPU time so far of the thread that takes samples out of the buffers and adds them up, if there is one.
    fn collector_cpu(&self) -> Option<Duration> {
        None
    }

    /// Whether it takes only signals that carry the value of its own timer for the thread.
    const NEEDS_COOKIE: bool = false;

    /// Finishes the profile: from addresses to names.
    ///
    /// # Errors
    /// Its own.
    fn finish(&mut self) -> Result<Self::Report>;

    /// Encodes the report as it is sent, before compression.
    ///
    /// # Errors
    /// Its own.
    fn encode(&self, report: &Self::Report) -> Result<Vec<u8>>;

    /// What is sent, if that is not [`encode`](Self::encode) as gzip.
    fn sent(&self, _report: &Self::Report) -> Option<Vec<u8>> {
        None
    }

    /// The same profile as compressed pprof, if [`encode`](Self::encode) is something else.
    fn pprof(&self, _report: &Self::Report) -> Option<Vec<u8>> {
        None
    }

    /// What is in the report.
    fn stacks(report: &Self::Report) -> Vec<Stack>;
}

/// Runs the measurement that the arguments name.
///
/// # Errors
/// The measurement's.
pub fn main<S: Subject>() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number =
        |index: usize| -> Result<u64> { Ok(arguments.get(index).ok_or("a number is missing")?.parse()?) };
    let seconds = |index| number(index).map(Duration::from_secs);
    let hertz = |index| number(index).and_then(|hertz| Ok(u32::try_from(hertz)?));
    match arguments.first().map(String::as_str) {
        Some("delivery") => threads::delivery::<S>(hertz(1)?, number(2)? as usize, seconds(3)?),
        Some("bursts") => threads::bursts::<S>(hertz(1)?, seconds(2)?),
        Some("split") => threads::split::<S>(hertz(1)?, seconds(2)?),
        Some("slowdown") => threads::slowdown::<S>(hertz(1)?, seconds(2)?),
        Some("cost") => cost::cost::<S>(number(1)? as u32, number(2)?),
        Some("start") => start::start::<S>(),
        Some("report") => report::report::<S>(number(1)?),
        other => Err(format!("no such measurement: {other:?}").into()),
    }
}

/// What the collector's thread uses for a sample: measured over some, less what it uses while nothing happens.
pub struct Collector {
    idle: f64,
    since: Instant,
    used: Duration,
}

impl Collector {
    /// Watches an idle collector for two seconds, and what it does from then on. `None` for a profiler that has none.
    pub fn watch(subject: &impl Subject) -> Option<Self> {
        let (since, used) = (Instant::now(), subject.collector_cpu()?);
        std::thread::sleep(Duration::from_secs(2));
        let now = subject.collector_cpu()?;
        Some(Self {
            idle: (now - used).as_secs_f64() / since.elapsed().as_secs_f64(),
            since: Instant::now(),
            used: now,
        })
    }

    /// Microseconds a sample, of so many.
    pub fn micros(&self, subject: &impl Subject, samples: u64) -> Option<f64> {
        let used = (subject.collector_cpu()? - self.used).as_secs_f64()
            - self.idle * self.since.elapsed().as_secs_f64();
        Some(used * 1e6 / samples as f64)
    }
}

/// Prints one figure.
pub fn say(name: &str, value: f64) {
    println!("{name} {value}");
}
