//! One program against both forms of this crate: with a profiler (`cargo test -p profile-layer --test both_ways`) and
//! without (the same with `--no-default-features`).
#![allow(clippy::unwrap_used)]

use profile_layer::{
    BatchProfileProcessor, Error, ErrorKind, ExportError, ExportReceipt, FileExporter, FileFormat, FileMode,
    LabelSet, Profile, ProfileBatch, ProfileExporter, Profiler, ProfilerBuilder, Region, SampleContext,
    SpanId, SpanPath, SpanScope, TraceFlags, TraceId, TraceParent, profiled,
};
use std::process::Command;
use std::time::{Duration, Instant};

/// The program of the README.
mod readme {
    #![allow(dead_code)]
    use profile_layer::{Profiler, profiled};
    use tracing_subscriber::prelude::*;

    #[profiled] // a span around a function, sync or async; spans made any other way count just the same
    fn checkout(prices: &mut [u64]) -> u64 {
        prices.sort_unstable();
        prices.iter().sum()
    }

    fn main() -> Result<(), Box<dyn std::error::Error>> {
        let profiler = Profiler::builder().with_service_name("shop").build()?; // OTEL_* variables fill in the rest
        tracing_subscriber::registry()
            // Do you send traces? Their layer goes here, before ours:
            // .with(tracing_opentelemetry::layer().with_tracer(tracer))
            .with(profiler.layer())
            .init();

        checkout(&mut [3, 1, 2]);

        profiler.shutdown()?; // or let it flush when it is dropped
        Ok(())
    }
}

struct Nowhere;

impl ProfileExporter for Nowhere {
    fn name(&self) -> &'static str {
        "nowhere"
    }

    fn export(&mut self, batch: &ProfileBatch, _: Instant) -> Result<ExportReceipt, ExportError> {
        Ok(ExportReceipt::new(
            (batch.to_otlp().len() + batch.to_pprof().len() + batch.to_folded().len()) as u64,
        ))
    }
}

/// OTLP is written by other tests, which hold it against the rules.
const FORMATS: [FileFormat; 3] = [FileFormat::Pprof, FileFormat::Folded, FileFormat::Otlp];

fn builder(directory: &std::path::Path) -> profile_layer::Result<ProfilerBuilder<Profiler>> {
    let files = FileExporter::builder()
        .with_directory(directory)
        .with_formats(FORMATS.into_iter().filter(|format| *format != FileFormat::Otlp))
        .with_mode(FileMode::Cumulative)
        .build()?;
    let processor = BatchProfileProcessor::builder().with_exporter(Nowhere).with_batch_size(4).build()?;
    Ok(Profiler::builder()
        .with_service_name("both ways")
        .with_resource_attribute("a", "b")
        .with_resource(profile_layer::Resource::empty())
        .with_frequency(99)
        .with_window(Duration::from_secs(10))
        .with_span_scope(SpanScope::LocalRoot)
        .with_sampled_only()
        .with_min_span_duration(Duration::from_secs(1))
        .with_exporter(files)
        .with_processor(processor))
}

fn read(profile: &Profile) -> u64 {
    let context = |context: &SampleContext| {
        let ids: (TraceId, SpanId, TraceFlags) = (context.trace_id, context.span_id, context.flags);
        let names: (SpanPath, Region, LabelSet) = (context.span, context.region, context.labels);
        (ids, names, names.2.iter().count(), names.1.name().len() + names.0.name().len())
    };
    let samples = profile.samples().map(|sample| {
        let _ = context(sample.context());
        sample.frames().map(|frame| frame.to_string().len() as u64).sum::<u64>() * sample.weight()
    });
    samples.sum()
}

#[profiled(span = false, labels(n))]
fn hot(n: u64) -> u64 {
    (0..n * 1000).fold(0, |sum, i| sum ^ i.wrapping_mul(n))
}

#[test]
fn a_program_that_uses_everything_compiles_and_runs() {
    let directory = std::env::temp_dir().join(format!("profile-both-ways-{}", std::process::id()));
    let profiler = builder(&directory).and_then(ProfilerBuilder::build).unwrap();
    let layer = profiler.layer().with_max_level(tracing::Level::INFO).with_target("both_ways");
    let subscriber = tracing_subscriber::layer::SubscriberExt::with(tracing_subscriber::registry(), layer);
    tracing::subscriber::with_default(subscriber, || {
        let span = tracing::info_span!("span");
        let caller = TraceParent::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        profile_layer::set_remote_parent(&span, caller).unwrap();
        let span = span.entered();
        std::hint::black_box(hot(1000));
        assert_eq!(profile_layer::current().is_some(), cfg!(feature = "enable"));
        drop(span);
    });
    let profile = profiler.collect(Duration::from_secs(30)).unwrap();
    assert!(cfg!(feature = "enable") || profile.is_none());
    let _ = profile.map(|profile| read(&profile));
    assert_eq!(profiler.status().sampling, cfg!(feature = "enable"));
    assert_eq!(profiler.collector().is_running(), cfg!(feature = "enable"));
    assert_eq!(profiler.stats().windows > 0, cfg!(feature = "enable"));
    profiler.force_flush(Duration::from_secs(30)).unwrap();
    profiler.shutdown().unwrap();
    assert!(!profiler.report().to_string().is_empty() && !profiler.status().to_string().is_empty());
    assert_eq!(Error::new(ErrorKind::Config, "a").kind(), ErrorKind::Config);
    let _ = std::fs::remove_dir_all(directory);
}

/// The crates that a dependent builds.
fn dependencies(features: &[&str]) -> Vec<String> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["tree", "--locked", "--offline", "--package", "profile-layer", "--edges", "normal"]);
    cargo.args(["--prefix", "none", "--format", "{lib}"]).args(features);
    let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut names: Vec<_> = String::from_utf8(output.stdout).unwrap().lines().map(first_word).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Without the mark of what was shown before.
fn first_word(line: &str) -> String {
    line.split_whitespace().next().unwrap_or_default().to_owned()
}

#[test]
fn a_library_that_only_annotates_builds_nothing_of_the_profiler() {
    let profiler =
        ["profile_core", "profile_proto", "ureq", "gimli", "object", "prost", "opentelemetry", "libc"];
    let has = |all: &[String], name: &str| all.iter().any(|dependency| dependency == name);
    let bare = dependencies(&["--no-default-features"]);
    assert!(has(&bare, "profile_layer") && has(&bare, "tracing_subscriber"), "{bare:?}");
    assert_eq!(profiler.map(|name| has(&bare, name)), [false; 8], "{bare:?}");
    // Its own names, the macro's and those of tracing and its registry.
    assert!(bare.len() <= 20, "{bare:?}");
    // HTTP is the application's choice as well: a library that names the feature does not build it.
    assert_eq!(dependencies(&["--no-default-features", "--features", "otlp-http"]), bare);
    let full = dependencies(&[]);
    assert_eq!(profiler.map(|name| has(&full, name)), [true; 8], "{full:?}");
}
