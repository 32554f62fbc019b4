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
use std::time::Duration;

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

    /// Whether it takes only signals that carry the value of its own timer for the thread.
    const NEEDS_COOKIE: bool = false;

    /// Finishes the profile: from addresses to names.
    ///
    /// # Errors
    /// Its own.
    fn finish(&mut self) -> Result<Self::Report>;

    /// Encodes the report as it is sent, each form with its name, before compression.
    ///
    /// # Errors
    /// Its own.
    fn encode(&self, report: &Self::Report) -> Result<Vec<(&'static str, Vec<u8>)>>;

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

/// Prints one figure.
pub fn say(name: &str, value: f64) {
    println!("{name} {value}");
}
