//! Pyroscope, where `PYROSCOPE_BIN` names it: what Grafana's span button asks for is what was sent.

use profile_tests::clock::unix_nanos;
use profile_tests::peers::{CPU_PROFILE, Collector, Flamegraph, Pyroscope, Selector, poll};
use profile_tests::{Result, fixture, http};
use prost::Message as _;
use std::time::{Duration, SystemTime};

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
