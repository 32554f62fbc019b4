//! What the export tests share: profiles, and the account that must add up with a scripted server's.
#![allow(dead_code, unreachable_pub, unused_imports)] // Each test binary uses a part.
#![allow(clippy::unwrap_used)] // In tests, but outside of test functions.

use profile_core::collector::{
    ContextIndex, Frame, SampleContext, Stack, StackEnd, StackIndex, Window, WindowSample,
};
use profile_core::export::{BatchProfileProcessor, BatchProfileProcessorBuilder, RetryPolicy};
use profile_core::modules::Module;
use profile_core::profile::{Profile, SpanScope};
use profile_core::resource::{Resource, Value};
use profile_core::stats::{ExporterSnapshot, Stats};
use profile_core::symbolize::{SourceFrame, SymbolSource, Symbolizer};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

#[cfg(feature = "otlp-http")]
pub mod http;
mod recorder;

pub use profile_test_support::conformance;
pub use profile_test_support::server::{Payloads, Record, Request, Server, Step, Stream};
pub use recorder::Recorder;

/// Far longer than anything takes that works, and far shorter than a test runner's patience.
pub const PATIENCE: Duration = Duration::from_secs(60);

const FIRST_START: u64 = 1_700_000_000_000_000_000;
const WINDOW: Duration = Duration::from_secs(10);

struct NoSymbols;

impl Symbolizer for NoSymbols {
    fn symbolize(&mut self, _: &Arc<Module>, _: u64) -> &[SourceFrame] {
        &[]
    }

    fn source(&self, _: &Module) -> SymbolSource {
        SymbolSource::AddressOnly
    }
}

/// The profile of window number `number`, of weight `number` + 1.
pub fn profile(number: u64) -> Arc<Profile> {
    profile_of(number, &[number + 1])
}

/// The profile of window number `number` with a sample of each of these weights.
pub fn profile_of(number: u64, weights: &[u64]) -> Arc<Profile> {
    let indices = 0..u32::try_from(weights.len()).unwrap();
    let stack = |index: u32| {
        let frame = Frame { module: None, address: 0x1000 + number + u64::from(index) };
        Stack { frames: Box::new([frame]), end: StackEnd::Complete }
    };
    let sample = |(index, weight): (u32, &u64)| WindowSample {
        stack: StackIndex(index),
        context: ContextIndex(0),
        weight: *weight,
    };
    let window = Window {
        start_unix_nanos: FIRST_START + number * WINDOW.as_nanos() as u64,
        duration: WINDOW,
        period_nanos: 10_101_010,
        stacks: indices.clone().map(stack).collect(),
        contexts: vec![SampleContext::default()],
        samples: indices.zip(weights).map(sample).collect(),
        losses: Vec::new(),
    };
    Arc::new(Profile::from_window(&window, &mut NoSymbols, SpanScope::default()))
}

/// Which window it is that began then.
pub fn number(start_unix_nanos: u64) -> u64 {
    (start_unix_nanos - FIRST_START) / WINDOW.as_nanos() as u64
}

/// The windows of the profiles in a request.
pub fn windows_of(request: &Request) -> Vec<u64> {
    request.starts_and_weights().iter().map(|(start, _)| number(*start)).collect()
}

pub fn resource() -> Resource {
    let mut resource = Resource::empty();
    resource.set("service.name", Value::String("export-test".to_owned()));
    resource
}

/// A processor that does not make a test wait: batches of one, and short backoffs.
pub fn processor(stats: &Arc<Stats>) -> BatchProfileProcessorBuilder {
    let retry = RetryPolicy::default()
        .with_initial_interval(Duration::from_millis(20))
        .with_max_interval(Duration::from_millis(50));
    BatchProfileProcessor::builder()
        .with_resource(resource())
        .with_stats(Arc::clone(stats))
        .with_batch_size(1)
        .with_retry_policy(retry)
}

/// The counters of exporter `index`.
pub fn account(stats: &Stats, index: usize) -> ExporterSnapshot {
    stats.snapshot().exporters[index].clone()
}

/// Everything given is delivered or dropped, and what counts as delivered is what the server took.
pub fn assert_adds_up(stats: &Stats, server: &Server, given: u64) -> ExporterSnapshot {
    let account = account(stats, 0);
    assert_eq!(account.given, given, "{account:?}");
    assert_eq!(account.exported + account.dropped.total(), given, "{account:?}");
    assert_eq!(account.exported, server.taken(), "{account:?}");
    account
}

pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "{what} did not happen");
        thread::sleep(Duration::from_millis(2));
    }
}
