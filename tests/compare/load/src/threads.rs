//! Threads that work, and what of it is found in the profile.

use crate::os::{process_cpu, thread_cpu};
use crate::{Result, Stack, Subject, say};
use std::cell::Cell;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Uses so much CPU time.
#[inline(never)]
pub fn burn(cpu: Duration) -> Duration {
    let begun = thread_cpu();
    loop {
        spin(10_000);
        let used = thread_cpu() - begun;
        if used >= cpu {
            return used;
        }
    }
}

#[inline(never)]
fn spin(rounds: u64) -> u64 {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for _ in 0..rounds {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    black_box(state)
}

/// A piece of work, under a name of its own.
type Work = fn() -> Duration;

macro_rules! named {
    ($list:ident, $work:expr, $($name:ident)*) => {
        $(
            #[inline(never)]
            fn $name() -> Duration {
                black_box(stringify!($name)); // equal functions become one
                black_box($work)
            }
        )*
        const $list: &[(&str, Work)] = &[$((stringify!($name), $name)),*];
    };
}

named!(BUSY, burn(Duration::from_micros(300)),
    busy_00 busy_01 busy_02 busy_03 busy_04 busy_05 busy_06 busy_07 busy_08 busy_09 busy_10
    busy_11 busy_12 busy_13 busy_14 busy_15 busy_16 busy_17 busy_18 busy_19 busy_20 busy_21
    busy_22 busy_23 busy_24 busy_25 busy_26 busy_27 busy_28 busy_29 busy_30 busy_31);

named!(SPINNING, burn(Duration::from_micros(500)), spinning);
named!(BURSTING, burst(Duration::from_micros(700)), bursting);
named!(SELDOM, burst(Duration::from_millis(4)), seldom_bursting);
named!(SPLITTING, split_once(), splitting);

fn burst(pause: Duration) -> Duration {
    let used = burn(Duration::from_micros(370));
    thread::sleep(pause);
    used
}

/// Seconds of the profile in stacks with a function.
fn seconds(stacks: &[Stack], function: &str, hertz: u32) -> f64 {
    let inside = stacks.iter().filter(|stack| stack.functions.iter().any(|name| name.ends_with(function)));
    inside.map(|stack| stack.weight).sum::<u64>() as f64 / f64::from(hertz)
}

/// The longest that a measurement takes, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs the works, one on each thread, until all together have used `cpu`. Returns the CPU time of each.
fn run<S: Subject>(subject: &S, works: &[(&str, Work)], cpu: Duration) -> Vec<f64> {
    let over = AtomicBool::new(false);
    let (since, before) = (Instant::now(), process_cpu());
    thread::scope(|scope| {
        let start = |work: Work| {
            let over = &over;
            scope.spawn(move || {
                let begun = thread_cpu();
                subject.on_thread(|| {
                    while !over.load(Ordering::Relaxed) {
                        work();
                    }
                });
                (thread_cpu() - begun).as_secs_f64()
            })
        };
        let running: Vec<_> = works.iter().map(|(_, work)| start(*work)).collect();
        while process_cpu() - before < cpu && since.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(20));
        }
        over.store(true, Ordering::Relaxed);
        running.into_iter().filter_map(|thread| thread.join().ok()).collect()
    })
}

/// Busy threads: what of the process's CPU time is in the profile, and how evenly. Prints `delivered`, the share of all
/// weights but losses; `total`, with losses that are exported as such; and the least and the greatest share of a thread's
/// own CPU time.
///
/// # Errors
/// The profiler's.
pub fn delivery<S: Subject>(hertz: u32, threads: usize, cpu: Duration) -> Result<()> {
    let mut subject = S::start(hertz)?;
    let before = process_cpu();
    let works = &BUSY[..threads.min(BUSY.len())];
    let used = run(&subject, works, cpu);
    let cpu = (process_cpu() - before).as_secs_f64();
    let stacks = S::stacks(&subject.finish()?);
    let weight = |losses: bool| {
        let counted = stacks.iter().filter(|stack| losses || !stack.is_loss);
        counted.map(|stack| stack.weight).sum::<u64>() as f64 / f64::from(hertz)
    };
    let shares = works.iter().zip(&used).map(|((name, _), used)| seconds(&stacks, name, hertz) / used);
    let (least, most) =
        shares.fold((f64::INFINITY, 0.0_f64), |(least, most), share| (least.min(share), most.max(share)));
    say("cpu_s", cpu);
    say("delivered", weight(false) / cpu);
    say("total", weight(true) / cpu);
    say("least", least);
    say("most", most);
    Ok(())
}

/// A thread that never sleeps and two that work in bursts. Prints each one's share in percent and the truth.
///
/// # Errors
/// The profiler's.
pub fn bursts<S: Subject>(hertz: u32, cpu: Duration) -> Result<()> {
    let mut subject = S::start(hertz)?;
    let works: Vec<_> = [SPINNING, BURSTING, SELDOM].concat();
    let used = run(&subject, &works, cpu);
    let stacks = S::stacks(&subject.finish()?);
    let sampled: Vec<f64> =
        works.iter().map(|(name, _)| seconds(&stacks, &format!("::{name}"), hertz)).collect();
    shares(&["spin", "burst", "seldom"], &sampled, &used);
    say("delivered", sampled.iter().sum::<f64>() / used.iter().sum::<f64>());
    Ok(())
}

fn shares(names: &[&str], sampled: &[f64], used: &[f64]) {
    let share = |all: &[f64], index: usize| 100.0 * all[index] / all.iter().sum::<f64>().max(1e-9);
    for (index, name) in names.iter().enumerate() {
        say(name, share(sampled, index));
        say(&format!("{name}_true"), share(used, index));
    }
}

#[inline(never)]
fn fifty(cpu: Duration) -> Duration {
    black_box(50); // equal functions become one
    black_box(burn(cpu))
}

#[inline(never)]
fn thirty(cpu: Duration) -> Duration {
    black_box(30); // equal functions become one
    black_box(burn(cpu))
}

#[inline(never)]
fn twenty(cpu: Duration) -> Duration {
    black_box(20); // equal functions become one
    black_box(burn(cpu))
}

thread_local! {
    static STATE: Cell<u64> = const { Cell::new(0x9E37_79B9_7F4A_7C15) };
    static USED: Cell<[Duration; 3]> = const { Cell::new([Duration::ZERO; 3]) };
}

/// One of three functions, for a time that is drawn: work in step with the kernel's tick would be seen at one place only.
fn split_once() -> Duration {
    let mut word = STATE.get();
    word ^= word << 13;
    word ^= word >> 7;
    word ^= word << 17;
    STATE.set(word);
    let cpu = Duration::from_micros(100 + (word >> 32) % 1500);
    let (function, number): (fn(Duration) -> Duration, _) = match word % 10 {
        0..5 => (fifty, 0),
        5..8 => (thirty, 1),
        _ => (twenty, 2),
    };
    let took = function(cpu);
    let mut used = USED.get();
    used[number] += took;
    USED.set(used);
    took
}

/// Three functions that take half, three tenths and a fifth of a thread. Prints each one's share in percent and the truth.
///
/// # Errors
/// The profiler's.
pub fn split<S: Subject>(hertz: u32, cpu: Duration) -> Result<()> {
    let mut subject = S::start(hertz)?;
    let begun = thread_cpu();
    subject.on_thread(|| {
        while thread_cpu() - begun < cpu {
            SPLITTING[0].1();
        }
    });
    let stacks = S::stacks(&subject.finish()?);
    let names = ["fifty", "thirty", "twenty"];
    let sampled: Vec<f64> = names.iter().map(|name| seconds(&stacks, &format!("::{name}"), hertz)).collect();
    shares(&names, &sampled, &USED.get().map(|used| used.as_secs_f64()));
    say("sampled_s", sampled.iter().sum());
    Ok(())
}

/// A fixed amount of work on two threads; prints the CPU time that it takes, in seconds. At 0 Hz nothing is profiled.
///
/// # Errors
/// The profiler's.
pub fn slowdown<S: Subject>(hertz: u32, cpu: Duration) -> Result<()> {
    let subject = if hertz > 0 { Some(S::start(hertz)?) } else { None };
    thread::sleep(Duration::from_millis(500)); // whatever the start leaves to the background
    let rounds = cpu.as_millis() as u64; // of about a millisecond
    let work = || {
        let begun = thread_cpu();
        let deep = || (0..rounds).fold(0, |sum, _| sum ^ black_box(spin(600_000)));
        black_box(match &subject {
            Some(subject) => subject.on_thread(deep),
            None => deep(),
        });
        (thread_cpu() - begun).as_secs_f64()
    };
    let used = thread::scope(|scope| {
        let running = [scope.spawn(&work), scope.spawn(&work)];
        running.into_iter().filter_map(|thread| thread.join().ok()).sum()
    });
    say("work_s", used);
    Ok(())
}
