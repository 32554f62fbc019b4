//! What it costs to start.

use crate::os::resident;
use crate::threads::burn;
use crate::{Result, Subject, say};
use std::time::{Duration, Instant};

/// Prints how long the start keeps its caller, in milliseconds, and how much resident memory the profiler has two seconds
/// later, in MB, and what its collector uses while nothing happens.
///
/// # Errors
/// The start's.
pub fn start<S: Subject>() -> Result<()> {
    let before = resident()?;
    let begun = Instant::now();
    let subject = S::start(99)?;
    let took = begun.elapsed();
    burn(Duration::from_millis(500));
    std::thread::sleep(Duration::from_millis(1500));
    let after = resident()?;
    let (begun, before_idle) = (Instant::now(), subject.collector_cpu());
    std::thread::sleep(Duration::from_secs(2));
    if let (Some(before), Some(now)) = (before_idle, subject.collector_cpu()) {
        say("idle_us_a_second", (now - before).as_secs_f64() * 1e6 / begun.elapsed().as_secs_f64());
    }
    drop(subject);
    say("start_ms", took.as_secs_f64() * 1e3);
    say("resident_mb", after.saturating_sub(before) as f64 / 1e6);
    Ok(())
}
