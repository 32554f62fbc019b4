//! This project's profiler.

use compare_load::{Result, Stack, Subject};
use profile_core::profile::SampleView;
use profile_layer::{Profile, ProfileBatch, Profiler};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing_subscriber::prelude::*;

const TIMEOUT: Duration = Duration::from_secs(60);

struct Ours {
    profiler: Profiler,
    dispatch: tracing::Dispatch,
}

impl Subject for Ours {
    type Report = Arc<Profile>;

    const NEEDS_COOKIE: bool = true;

    fn start(hertz: u32) -> Result<Self> {
        let profiler = Profiler::builder().with_frequency(hertz).with_window(TIMEOUT).build()?;
        let dispatch = tracing_subscriber::registry().with(profiler.layer()).into();
        Ok(Self { profiler, dispatch })
    }

    /// In a span, so that every sample carries what the others cannot carry.
    fn on_thread<T>(&self, work: impl FnOnce() -> T) -> T {
        tracing::dispatcher::with_default(&self.dispatch, || tracing::info_span!("work").in_scope(work))
    }

    fn drain(&self, samples: u64) {
        let begun = Instant::now();
        while self.profiler.stats().samples_taken < samples && begun.elapsed() < TIMEOUT {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn collector_cpu(&self) -> Option<Duration> {
        let tasks = fs::read_dir("/proc/self/task").ok()?.flatten().map(|task| task.path());
        let is_it = |path: &PathBuf| {
            fs::read_to_string(path.join("comm")).is_ok_and(|name| name == "profile-collect\n")
        };
        let text = fs::read_to_string(tasks.into_iter().find(is_it)?.join("schedstat")).ok()?;
        text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
    }

    fn finish(&mut self) -> Result<Self::Report> {
        Ok(self.profiler.collect(TIMEOUT)?.ok_or("an empty profile")?)
    }

    fn encode(&self, report: &Self::Report) -> Result<Vec<u8>> {
        Ok(batch(report).to_otlp())
    }

    fn sent(&self, report: &Self::Report) -> Option<Vec<u8>> {
        Some(batch(report).to_otlp_gzip())
    }

    fn pprof(&self, report: &Self::Report) -> Option<Vec<u8>> {
        Some(batch(report).to_pprof())
    }

    fn stacks(report: &Self::Report) -> Vec<Stack> {
        let stack = |sample: SampleView<'_>| Stack {
            functions: sample.frames().map(|frame| frame.to_string()).collect(),
            weight: sample.weight(),
            is_loss: sample.is_loss(),
        };
        report.samples().map(stack).collect()
    }
}

fn batch(report: &Arc<Profile>) -> ProfileBatch {
    ProfileBatch::new(Arc::default(), vec![Arc::clone(report)])
}

fn main() -> Result<()> {
    compare_load::main::<Ours>()
}
