//! The first program to run: a small order service whose CPU time is profiled span by span.
//!
//! ```text
//! cargo run --release --example quickstart
//! ```
//!
//! It works for about five seconds, writes `target/profile/cpu.pb.gz` (for `go tool pprof`, Pyroscope, Speedscope)
//! and `target/profile/cpu.folded` (for flame graph scripts), and prints which spans took the CPU time and which
//! function was the hottest in each. With `OTEL_EXPORTER_OTLP_ENDPOINT` set it also sends its profiles and its traces
//! to that server, so that a span of the trace leads to the profile of its code.

#![allow(clippy::print_stdout)] // a program's result belongs on standard output

mod clock;
mod load;
mod orders;
mod reports;
mod traces;

use orders::Failure;
use profile_layer::{FileExporter, Profiler};
use std::time::Duration;
use tracing_subscriber::prelude::*;

const SERVICE: &str = "quickstart";
const DIRECTORY: &str = "target/profile";
const RUN: Duration = Duration::from_secs(5);
const FLUSH: Duration = Duration::from_secs(10);

fn main() -> Result<(), Failure> {
    let clock = clock::SpanClock::from_env(); // only for this project's tests

    let profiler = Profiler::builder()
        .with_service_name(SERVICE)
        .with_exporter(FileExporter::builder().with_directory(DIRECTORY).build()?)
        .build()?; // OTEL_* variables fill in the rest
    let traces = traces::Traces::from_env(SERVICE)?;

    tracing_subscriber::registry()
        .with(traces.as_ref().map(traces::Traces::layer)) // optional; gives the spans their trace ids
        .with(profiler.layer()) // after it, so that the ids are known
        .with(clock.clone())
        .init();

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build()?;
    let tally = runtime.block_on(load::serve(RUN))?;
    drop(runtime);
    if let Some(clock) = &clock {
        clock.write()?;
    }

    let delivered = profiler.force_flush(FLUSH); // its files are written even if a server did not answer
    println!("{tally}\n\n{}\nProfile: {DIRECTORY}/cpu.pb.gz and {DIRECTORY}/cpu.folded", profiler.report());
    let traced = traces.map_or(Ok(()), |traces| traces.shutdown(FLUSH));
    profiler.shutdown()?;
    delivered?;
    traced
}
