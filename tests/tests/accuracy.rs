//! Shares are true: each thread and each function gets what the thread's own CPU clock says that it used.
//!
//! `PROFILE_ACCURACY_FACTOR` makes every measurement so many times as long.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // Helpers of tests, outside of test functions.

use profile_layer::{Profile, Profiler};
use profile_tests::accuracy::{factor, retried, until_stacks_are_whole};
use profile_tests::clock::{burn, thread_cpu};
use std::cell::Cell;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;
use tracing_subscriber::prelude::*;

const TIMEOUT: Duration = Duration::from_secs(60);
/// How much CPU time a thread may use before a tick finds it running. A thread that works for .37 of every 4.4 ms is found
/// at one tick in twelve; one time in a thousand it has used 27 ms by then.
const LATE: f64 = 0.03;

/// A process has one profiler: these tests take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One piece of a thread's work.
type Work = fn();

/// What was measured.
struct Measured {
    profile: Arc<Profile>,
    /// How many samples it has: signals, not periods.
    samples: u64,
    /// What each thread used, by its own clock.
    used: Vec<Duration>,
}

/// Profiles threads that do their pieces of work, each in a span, until the first has used `cpu`.
fn measure(hertz: u32, cpu: Duration, threads: &[Work]) -> Measured {
    let builder = Profiler::builder().with_frequency(hertz).with_window(Duration::from_secs(60));
    let profiler = builder.build().unwrap();
    until_stacks_are_whole(&profiler);
    drop(profiler.collect(TIMEOUT).unwrap());
    let before = profiler.stats().samples_taken;
    let subscriber: tracing::Dispatch = tracing_subscriber::registry().with(profiler.layer()).into();
    let used = run(cpu, threads, &subscriber);
    let profile = profiler.collect(TIMEOUT).unwrap().unwrap();
    let samples = profiler.stats().samples_taken - before;
    profiler.shutdown().unwrap();
    Measured { profile, samples, used }
}

fn run(cpu: Duration, threads: &[Work], subscriber: &tracing::Dispatch) -> Vec<Duration> {
    let over = AtomicBool::new(false);
    let thread = |number: usize, work: Work| {
        let _span = tracing::info_span!("thread").entered();
        let begun = thread_cpu().unwrap();
        loop {
            work();
            let used = thread_cpu().unwrap() - begun;
            if number == 0 && used >= cpu {
                over.store(true, Ordering::Relaxed);
            }
            if over.load(Ordering::Relaxed) {
                return used;
            }
        }
    };
    thread::scope(|scope| {
        let start = |(number, work): (usize, &Work)| {
            let (work, thread) = (*work, &thread);
            scope.spawn(move || tracing::dispatcher::with_default(subscriber, || thread(number, work)))
        };
        let running: Vec<_> = threads.iter().enumerate().map(start).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

impl Measured {
    /// CPU time of the samples with this function in their stack, in seconds.
    fn seconds_in(&self, function: &str) -> f64 {
        let is_it = |name: Option<&str>| name.is_some_and(|name| name.ends_with(function));
        let inside =
            self.profile.samples().filter(|sample| sample.frames().any(|frame| is_it(frame.function())));
        let weight: u64 = inside.map(|sample| sample.weight()).sum();
        (weight * self.profile.period_nanos()) as f64 / 1e9
    }

    /// Holds the shares of functions against the truth, in seconds: within three standard deviations, or `least` where that
    /// is more; and their sum within a tenth. A sample that stands for several periods makes the sum less certain: it counts for so much less.
    fn compare(&self, functions: &[&str], truth: &[f64], least: f64) -> Result<(), String> {
        let sampled: Vec<f64> = functions.iter().map(|function| self.seconds_in(function)).collect();
        let (all_sampled, all_true): (f64, f64) = (sampled.iter().sum(), truth.iter().sum());
        let periods = all_sampled * 1e9 / self.profile.period_nanos() as f64;
        let n = (self.samples as f64).powi(2) / periods.max(self.samples as f64);
        for ((function, sampled), truth) in functions.iter().zip(&sampled).zip(truth) {
            let (share, expected) = (sampled / all_sampled, truth / all_true);
            let sigma = (expected * (1.0 - expected) / n).sqrt();
            let line = format!(
                "{function}: {sampled:.3} of {truth:.3} s, share {share:.4} of {expected:.4}, n {n:.0}, sigma {sigma:.4}"
            );
            println!("{line}");
            // Without any samples the share is no number.
            if share.is_nan() || (share - expected).abs() > least.max(3.0 * sigma) {
                return Err(line);
            }
        }
        // What is missing from all of them alike leaves the shares as they are.
        let missing = (all_true - all_sampled).abs();
        if missing <= 0.1 * all_true { Ok(()) } else { Err(format!("{all_sampled:.3} of {all_true:.3} s")) }
    }
}

#[inline(never)]
fn spinning() {
    black_box(burn(Duration::from_micros(500)).unwrap());
}

#[inline(never)]
fn bursting() {
    black_box(burn(Duration::from_micros(370)).unwrap());
    thread::sleep(Duration::from_micros(700));
}

#[inline(never)]
fn bursting_seldom() {
    black_box(burn(Duration::from_micros(370)).unwrap());
    thread::sleep(Duration::from_millis(4));
}

/// Threads that work in short bursts, beside one that never sleeps. A timer of the whole process gives the busy thread what
/// belongs to the others.
#[test]
fn threads_that_work_in_bursts_get_what_they_used() {
    let _turn = turn();
    let functions = ["::spinning", "::bursting", "::bursting_seldom"];
    for hertz in [99, 997] {
        retried(3, || {
            let cpu = Duration::from_secs_f64(2.5 * factor());
            println!("{hertz} Hz");
            let measured = measure(hertz, cpu, &[spinning, bursting, bursting_seldom]);
            let truth: Vec<f64> = measured.used.iter().map(Duration::as_secs_f64).collect();
            // Better than the luck of the draw: what a timer counts is never off by more than this.
            let most_off = LATE + 2.0 * measured.profile.period_nanos() as f64 / 1e9;
            for (function, truth) in functions.iter().zip(&truth) {
                let sampled = measured.seconds_in(function);
                if (sampled - truth).abs() > most_off + 0.02 * truth {
                    return Err(format!("{hertz} Hz, {function}: {sampled:.3} of {truth:.3} s"));
                }
            }
            measured.compare(&functions, &truth, 0.0)
        });
    }
}

/// What the functions of [`splitting`] used, in nanoseconds.
static USED: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

#[inline(never)]
fn fifty(time: Duration) -> Duration {
    black_box(50); // an optimising compiler makes one function of equal ones
    black_box(burn(time).unwrap())
}

#[inline(never)]
fn thirty(time: Duration) -> Duration {
    black_box(30); // an optimising compiler makes one function of equal ones
    black_box(burn(time).unwrap())
}

#[inline(never)]
fn twenty(time: Duration) -> Duration {
    black_box(20); // an optimising compiler makes one function of equal ones
    black_box(burn(time).unwrap())
}

/// One of three functions, drawn half, three tenths and a fifth of the time, for a time that is drawn too: work that keeps
/// step with the kernel's tick would be seen at the same place each time.
fn splitting() {
    thread_local!(static STATE: Cell<u64> = const { Cell::new(0x9E37_79B9_7F4A_7C15) });
    let mut word = STATE.get();
    word ^= word << 13;
    word ^= word >> 7;
    word ^= word << 17;
    STATE.set(word);
    let time = Duration::from_micros(100 + (word >> 32) % 1500);
    let (function, number): (fn(Duration) -> Duration, _) = match word % 10 {
        0..5 => (fifty, 0),
        5..8 => (thirty, 1),
        _ => (twenty, 2),
    };
    USED[number].fetch_add(function(time).as_nanos() as u64, Ordering::Relaxed);
}

#[test]
fn a_split_of_functions_comes_out() {
    let _turn = turn();
    retried(3, || {
        USED.iter().for_each(|used| used.store(0, Ordering::Relaxed));
        let measured = measure(250, Duration::from_secs_f64(4.0 * factor()), &[splitting, splitting]);
        let truth = USED.each_ref().map(|used| used.load(Ordering::Relaxed) as f64 / 1e9);
        measured.compare(&["::fifty", "::thirty", "::twenty"], &truth, 0.01)
    });
}
