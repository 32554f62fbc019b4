//! Pyroscope, where `PYROSCOPE_BIN` names it: what Grafana's span button asks for is what was sent.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // Helpers of tests, outside of test functions.

use profile_core::export::{
    BatchProfileProcessor, OtlpHttpExporter, OtlpSettings, ProfileExporter, ProfileProcessor,
    PyroscopeExporter, PyroscopeSettings,
};
use profile_core::profile::{Profile, ProfileBatch, SampleView};
use profile_core::resource::{Resource, Value};
use profile_layer::Profiler;
use profile_tests::clock::{burn, unix_nanos};
use profile_tests::peers::{CPU_PROFILE, Collector, Flamegraph, Pyroscope, Selector, poll};
use profile_tests::{Result, conformance, fixture, http};
use prost::Message as _;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tracing_subscriber::prelude::*;

/// Five seconds ago, so that the profile's ten seconds have begun and none of it lies in the far future.
fn start() -> SystemTime {
    SystemTime::now() - Duration::from_secs(5)
}

fn query(pyroscope: &Pyroscope, start: SystemTime, selector: Selector<'_>) -> Result<Flamegraph> {
    let time = start - Duration::from_secs(30)..start + Duration::from_secs(30);
    pyroscope.query(fixture::SERVICE, CPU_PROFILE, time, selector)
}

fn wait_for_data(pyroscope: &Pyroscope, start: SystemTime) -> Result<Flamegraph> {
    poll(Duration::from_secs(30), || {
        let all = query(pyroscope, start, Selector::All)?;
        Ok((all.total > 0).then_some(all))
    })
}

fn functions(flamegraph: &Flamegraph) -> Vec<(&str, i64)> {
    flamegraph.functions.iter().map(|(name, own)| (name.as_str(), *own)).collect()
}

#[test]
fn pyroscope_gives_each_span_its_own_samples() -> Result<()> {
    let Some(pyroscope) = Pyroscope::start("pyroscope_gives_each_span_its_own_samples")? else {
        return Ok(());
    };
    let start = start();
    pyroscope.push_otlp(&fixture::profiles_at(unix_nanos(start)?).encode_to_vec())?.ok()?;

    let all = wait_for_data(&pyroscope, start)?;
    assert_eq!(all.total, 550_000_000);
    let (a, b) = (fixture::link_a(), fixture::link_b());
    let in_a = query(&pyroscope, start, Selector::Span(&a.span_id))?;
    assert_eq!(in_a.total, 300_000_000);
    assert_eq!(functions(&in_a), [("shop::checkout", 0), ("shop::hash", 300_000_000), ("shop::main", 0)]);
    let in_b = query(&pyroscope, start, Selector::Span(&b.span_id))?;
    assert_eq!(functions(&in_b), [("shop::main", 0), ("shop::search", 200_000_000)]);
    assert_eq!(query(&pyroscope, start, Selector::Trace(&a.trace_id))?.total, 500_000_000);
    assert_eq!(query(&pyroscope, start, Selector::Label("span_name", fixture::SPAN_B))?.total, 200_000_000);
    assert_eq!(query(&pyroscope, start, Selector::Span("00000000000000ff"))?, Flamegraph::default());
    Ok(())
}

#[test]
fn a_collector_passes_profiles_on_to_pyroscope() -> Result<()> {
    const TEST: &str = "a_collector_passes_profiles_on_to_pyroscope";
    let Some(pyroscope) = Pyroscope::start(TEST)? else { return Ok(()) };
    let Some(collector) = Collector::start_forwarding(TEST, Some(pyroscope.http()))? else { return Ok(()) };
    let start = start();
    let body = fixture::profiles_at(unix_nanos(start)?).encode_to_vec();
    let headers = [("Content-Type", "application/x-protobuf")];
    http::post(collector.http(), "/v1development/profiles", &headers, &body)?.ok()?;

    assert_eq!(wait_for_data(&pyroscope, start)?.total, 550_000_000);
    let in_a = query(&pyroscope, start, Selector::Span(&fixture::link_a().span_id))?;
    assert_eq!(in_a.total, 300_000_000);
    Ok(())
}

#[inline(never)]
fn search_shelves() {
    burn(Duration::from_millis(600)).unwrap();
}

#[inline(never)]
fn print_invoice() {
    burn(Duration::from_millis(900)).unwrap();
}

/// A real profile, by OTLP and by push: the totals are those that were sampled, and each local root has its functions.
#[test]
fn pyroscope_has_the_totals_and_spans_of_a_profile_however_it_is_sent() -> Result<()> {
    const TEST: &str = "pyroscope_has_the_totals_and_spans_of_a_profile_however_it_is_sent";
    let Some(pyroscope) = Pyroscope::start(TEST)? else { return Ok(()) };
    let start = SystemTime::now();
    let profile = two_requests();
    let total = sampled(&profile, |_| true);
    let url = format!("http://{}", pyroscope.http());
    let otlp = OtlpHttpExporter::builder().with_settings(OtlpSettings::default()).with_endpoint(&url);
    let push = PyroscopeExporter::builder().with_settings(PyroscopeSettings::default()).with_endpoint(&url);
    send(&profile, "sent-as-otlp", otlp.build().unwrap());
    send(&profile, "sent-by-push", push.build().unwrap());

    for service in ["sent-as-otlp", "sent-by-push"] {
        let time = || start - Duration::from_secs(30)..start + Duration::from_secs(60);
        let ask = |selector: Selector<'_>| pyroscope.query(service, CPU_PROFILE, time(), selector);
        let all = poll(Duration::from_secs(60), || {
            let all = ask(Selector::All)?;
            Ok((all.total > 0).then_some(all))
        })?;
        let ratio = all.total as f64 / total as f64;
        println!("{service}: {} ns of {total} ns sampled, {ratio:.4}", all.total);
        assert!((0.98..=1.02).contains(&ratio), "{service}: {ratio}");
        for (name, hot, other) in
            [("search", "search_shelves", "print_invoice"), ("invoice", "print_invoice", "search_shelves")]
        {
            let of_root = |sample: &SampleView<'_>| sample.context().root.name() == name;
            let id = profile.samples().find(of_root).unwrap().context().root_id.to_string();
            let found = ask(Selector::Span(&id))?;
            assert_eq!(found.total, sampled(&profile, of_root), "{service}: {name}");
            let mine = functions_of(&profile, of_root);
            let others = functions_of(&profile, |sample| !of_root(sample));
            let names: BTreeSet<String> = found.functions.keys().cloned().collect();
            assert!(mine.is_subset(&names), "{service}: {name} lacks {:?}", mine.difference(&names));
            let foreign: Vec<_> = others.difference(&mine).filter(|other| names.contains(*other)).collect();
            assert!(foreign.is_empty(), "{service}: {name} has {foreign:?}");
            let has = |function: &str| names.iter().any(|name| name.ends_with(function));
            assert!(has(hot) && !has(other), "{service}: {name}: {names:?}");
        }
    }
    Ok(())
}

/// The profile of two requests, each of which does something of its own.
fn two_requests() -> Arc<Profile> {
    let profiler =
        Profiler::builder().with_frequency(997).with_window(Duration::from_secs(60)).build().unwrap();
    let subscriber = tracing_subscriber::registry().with(profiler.layer());
    tracing::subscriber::with_default(subscriber, || {
        tracing::info_span!("search").in_scope(search_shelves);
        tracing::info_span!("invoice").in_scope(print_invoice);
    });
    let profile = profiler.collect(Duration::from_secs(60)).unwrap().unwrap();
    profiler.shutdown().unwrap();
    profile
}

fn send(profile: &Arc<Profile>, service: &str, exporter: impl ProfileExporter + 'static) {
    let mut resource = Resource::empty();
    resource.set("service.name", Value::String(service.to_owned()));
    let resource = Arc::new(resource);
    let mut violations = conformance::check_bytes(
        &ProfileBatch::new(Arc::clone(&resource), vec![Arc::clone(profile)]).to_otlp(),
    );
    // It was collected in one window, however long the work took.
    violations.retain(|violation| violation.rule != "window");
    conformance::assert_none(&violations);
    let processor =
        BatchProfileProcessor::builder().with_resource(resource).with_exporter(exporter).build().unwrap();
    processor.on_profile(Arc::clone(profile));
    processor.shutdown(Duration::from_secs(60)).unwrap();
}

/// Nanoseconds of CPU time of the samples.
fn sampled(profile: &Profile, which: impl Fn(&SampleView<'_>) -> bool) -> i64 {
    let weight: u64 = profile.samples().filter(which).map(|sample| sample.weight()).sum();
    i64::try_from(weight * profile.period_nanos()).unwrap()
}

fn functions_of(profile: &Profile, which: impl Fn(&SampleView<'_>) -> bool) -> BTreeSet<String> {
    let frames = profile.samples().filter(which).flat_map(|sample| sample.frames());
    frames.filter_map(|frame| frame.function().map(str::to_owned)).collect()
}
