//! This project's profiler.

use compare_load::{Result, Stack, Subject};
use profile_core::profile::SampleView;
use profile_layer::{Profile, ProfileBatch, Profiler};
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

    fn finish(&mut self) -> Result<Self::Report> {
        Ok(self.profiler.collect(TIMEOUT)?.ok_or("an empty profile")?)
    }

    fn encode(&self, report: &Self::Report) -> Result<Vec<(&'static str, Vec<u8>)>> {
        let batch = ProfileBatch::new(Arc::default(), vec![Arc::clone(report)]);
        Ok(vec![("otlp", batch.to_otlp())])
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

fn main() -> Result<()> {
    compare_load::main::<Ours>()
}
