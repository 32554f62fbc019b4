//! From the raw addresses of many distinct stacks to bytes.
//!
//! The stacks are real: a recursion through sixteen functions, whose way down is a number, and a signal at the bottom of
//! each way. Nothing has been looked up before: the caches of the profilers are cold. The programs are built without
//! DWARF, so that names come from the symbol table.

use crate::heap::peak_of;
use crate::os::{Sender, cookie, process_cpu, resident};
use crate::{Collector, Result, Subject, say};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::hint::black_box;
use std::io::Write as _;
use std::time::{Duration, Instant};

/// Frames of the recursion.
const DEPTH: u32 = 24;
/// Signals before the buffers are emptied.
const BATCH: u64 = 60;

/// Prints what `count` distinct stacks take to finish, encode and compress: time, memory, bytes.
///
/// # Errors
/// The profiler's, and when stacks are missing.
pub fn report<S: Subject>(count: u64) -> Result<()> {
    let mut subject = S::start(1)?;
    std::thread::sleep(Duration::from_secs(2));
    let collector = Collector::watch(&subject);
    subject.on_thread(|| {
        let sender = Sender::new(if S::NEEDS_COOKIE { cookie()? } else { 0 });
        for number in 0..count {
            black_box(go(number, DEPTH, &sender));
            if (number + 1) % BATCH == 0 || number + 1 == count {
                subject.drain(number + 1);
            }
        }
        Ok::<_, Box<dyn std::error::Error>>(())
    })?;
    let collected = collector.and_then(|collector| collector.micros(&subject, count));
    let before = (Instant::now(), process_cpu(), resident()?);
    let (report, finish_peak) = peak_of(|| subject.finish());
    let report = report?;
    let finished = (Instant::now(), process_cpu());
    let (encoded, encode_peak) = peak_of(|| subject.encode(&report));
    let encoded = encoded?;
    let done = (Instant::now(), process_cpu(), resident()?);
    let ways =
        S::stacks(&report).iter().filter(|stack| stack.functions.iter().any(|f| f.contains("way_"))).count();
    if (ways as u64) < count {
        return Err(format!("void: {ways} stacks of {count}").into());
    }
    say("finish_ms", (finished.1 - before.1).as_secs_f64() * 1e3);
    say("encode_ms", (done.1 - finished.1).as_secs_f64() * 1e3);
    say("total_ms", (done.1 - before.1).as_secs_f64() * 1e3);
    say("wall_ms", (done.0 - before.0).as_secs_f64() * 1e3);
    say("peak_mb", finish_peak.max(encode_peak) as f64 / 1e6);
    say("resident_mb", done.2.saturating_sub(before.2) as f64 / 1e6);
    let sent = match subject.sent(&report) {
        Some(sent) => sent,
        None => {
            let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
            gzip.write_all(&encoded)?;
            gzip.finish()?
        }
    };
    say("gzip_kb", sent.len() as f64 / 1e3);
    if let Some(pprof) = subject.pprof(&report) {
        say("pprof_gzip_kb", pprof.len() as f64 / 1e3);
    }
    if let Some(micros) = collected {
        say("collect_us", micros);
    }
    Ok(())
}

/// The next function on the way: the number's digits at first, so that every number has a way of its own, then what its
/// hash says.
fn next(number: u64, level: u32) -> u64 {
    let place = DEPTH - level;
    let digits = if place < 4 {
        number >> (4 * place)
    } else {
        number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (place + 20)
    };
    digits & 15
}

macro_rules! ways {
    ($($function:ident $digit:literal),*) => {
        #[inline(never)]
        fn go(number: u64, level: u32, sender: &Sender) -> u64 {
            if level == 0 {
                sender.send();
                return number;
            }
            // Sixteen calls, each with an address of its own.
            match next(number, level) {
                $($digit => $function(number, level - 1, sender) + $digit,)*
                _ => 0,
            }
        }
        $(
            #[inline(never)]
            fn $function(number: u64, level: u32, sender: &Sender) -> u64 {
                if level == 0 {
                    sender.send();
                    return black_box(number + $digit);
                }
                black_box(forward(number, level, sender)) ^ $digit
            }
        )*
        #[inline(always)]
        fn forward(number: u64, level: u32, sender: &Sender) -> u64 {
            match next(number, level) {
                $($digit => $function(number, level - 1, sender) + $digit,)*
                _ => 0,
            }
        }
    };
}

ways!(
    way_0 0, way_1 1, way_2 2, way_3 3, way_4 4, way_5 5, way_6 6, way_7 7,
    way_8 8, way_9 9, way_10 10, way_11 11, way_12 12, way_13 13, way_14 14, way_15 15
);
