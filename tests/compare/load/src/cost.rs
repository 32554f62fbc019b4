//! What one sample costs the thread that it is taken on.
//!
//! The thread sends signals to itself, as its timer would, from the bottom of a recursion: batches that the profiler's
//! handler gets, and batches by the very same call that an empty handler gets. Every signal is timed; the difference of the
//! fastest ones, and of the medians, is the profiler's own cost. Between batches the buffers are emptied, so that every
//! sample finds room. The measurement is void unless every signal that was sent is in the profile, with a stack of full
//! depth.

use crate::os::{Action, Sender, cookie};
use crate::{Collector, Result, Subject, say};
use std::hint::black_box;
use std::time::Instant;

/// Signals in a batch.
const BATCH: u64 = 16;

/// Prints the own cost of a sample at `depth` frames of a recursion, in nanoseconds: of the fastest, and of the median.
///
/// # Errors
/// When the measurement is void.
pub fn cost<S: Subject>(depth: u32, batches: u64) -> Result<()> {
    let mut subject = S::start(1)?;
    // The tables are made in the background: a sample taken earlier has no stack.
    std::thread::sleep(std::time::Duration::from_secs(2));
    let collector = Collector::watch(&subject);
    let Times { mut profilers, mut empty } = subject.on_thread(|| {
        let value = if S::NEEDS_COOKIE { cookie()? } else { 0 };
        let sender = Sender::new(value);
        Ok::<_, Box<dyn std::error::Error>>(descend(depth, &mut || measure(&subject, &sender, batches)))
    })?;
    let sent = batches * BATCH;
    let collected = collector.and_then(|collector| collector.micros(&subject, sent));
    let report = subject.finish()?;
    let is_full = |functions: &[String]| {
        functions.iter().filter(|function| function.contains("descend")).count() >= depth as usize
    };
    let full: u64 =
        S::stacks(&report).iter().filter(|stack| is_full(&stack.functions)).map(|stack| stack.weight).sum();
    // The profiler's own timer may have added a few.
    if full < sent || full > sent + 10 {
        return Err(format!("void: {full} samples of full depth, {sent} signals sent").into());
    }
    profilers.sort_by(f64::total_cmp);
    empty.sort_by(f64::total_cmp);
    let middle = profilers.len() / 2;
    say("best_ns", profilers[0] - empty[0]);
    say("median_ns", profilers[middle] - empty[middle]);
    say("signal_ns", empty[0]);
    say("signals", sent as f64);
    if let Some(micros) = collected {
        say("collect_us", micros);
    }
    Ok(())
}

/// What each signal took, in nanoseconds.
#[derive(Default)]
struct Times {
    profilers: Vec<f64>,
    empty: Vec<f64>,
}

fn measure<S: Subject>(subject: &S, sender: &Sender, batches: u64) -> Times {
    let profilers = Action::current();
    let empty = profilers.emptied();
    let mut times = Times::default();
    for number in 1..=batches {
        batch(sender, &mut times.profilers);
        subject.drain(number * BATCH);
        empty.install();
        batch(sender, &mut times.empty);
        profilers.install();
    }
    times
}

#[inline(never)]
fn batch(sender: &Sender, times: &mut Vec<f64>) {
    for _ in 0..BATCH {
        let begun = Instant::now();
        sender.send();
        times.push(begun.elapsed().as_nanos() as f64);
    }
}

#[inline(never)]
fn descend<T>(depth: u32, at_the_bottom: &mut dyn FnMut() -> T) -> T {
    let result = if black_box(depth) <= 1 { at_the_bottom() } else { descend(depth - 1, at_the_bottom) };
    black_box(&result); // so that this is no tail call
    result
}
