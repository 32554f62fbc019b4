//! A real OpenTelemetry Collector: what it takes and writes is what was sent, and profiles and traces join.

use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use profile_tests::http::{self, Response};
use profile_tests::join::assert_joined;
use profile_tests::peers::Collector;
use profile_tests::{Result, fixture, otlp_read};
use prost::Message as _;

const PROTOBUF: [(&str, &str); 1] = [("Content-Type", "application/x-protobuf")];

fn send_profiles(collector: &Collector, request: &ExportProfilesServiceRequest) -> Result<Response> {
    http::post(collector.http(), "/v1development/profiles", &PROTOBUF, &request.encode_to_vec())?.ok()
}

fn send_traces(collector: &Collector, request: &ExportTraceServiceRequest) -> Result<Response> {
    http::post(collector.http(), "/v1/traces", &PROTOBUF, &request.encode_to_vec())?.ok()
}

/// The harness itself: a hand-built export and its traces go through the Collector unchanged and join.
#[test]
fn collector_keeps_profiles_and_traces_so_that_they_join() -> Result<()> {
    let Some(collector) = Collector::start("collector_keeps_profiles_and_traces_so_that_they_join")? else {
        return Ok(());
    };
    let (profiles, traces) = (fixture::profiles(), fixture::traces());
    send_profiles(&collector, &profiles)?;
    send_traces(&collector, &traces)?;
    let received = collector.finish()?;

    assert_eq!(received.profiles, otlp_read::resolve(&profiles)?, "the Collector wrote what it was sent");
    let names: Vec<&str> = received.spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, [fixture::SPAN_A, "hash", fixture::SPAN_B]);
    assert_eq!(received.spans[0].resource["service.name"], fixture::SERVICE);
    assert_eq!(received.spans[1].attributes["items"], "3");

    let report =
        assert_joined(&received.profiles, &received.spans).unwrap_or_else(|faults| panic!("{faults:#?}"));
    assert_eq!(report.linked, [(fixture::link_a(), 30), (fixture::link_b(), 20)].into());
    assert_eq!((report.unlinked, report.local_roots.len()), (5, 2));
    Ok(())
}

/// A join that must fail: the Collector's trace file lacks one of the linked spans.
#[test]
fn a_span_that_no_trace_has_is_found() -> Result<()> {
    let Some(collector) = Collector::start("a_span_that_no_trace_has_is_found")? else { return Ok(()) };
    let mut traces = fixture::traces();
    traces.resource_spans[0].scope_spans[0].spans.remove(2);
    send_profiles(&collector, &fixture::profiles())?;
    send_traces(&collector, &traces)?;
    let received = collector.finish()?;
    let faults = assert_joined(&received.profiles, &received.spans).unwrap_err();
    assert!(faults.len() == 1 && faults[0].contains(&fixture::link_b().span_id), "{faults:?}");
    Ok(())
}

/// The Collector refuses what is no export, and says so; nothing of it reaches the file.
#[test]
fn a_body_that_is_no_export_is_refused() -> Result<()> {
    let Some(collector) = Collector::start("a_body_that_is_no_export_is_refused")? else { return Ok(()) };
    let answer = http::post(collector.http(), "/v1development/profiles", &PROTOBUF, b"\x0a\xff")?;
    assert_eq!(answer.status, 400, "{}", answer.text());
    let answer =
        http::post(collector.http(), "/v1/profiles", &PROTOBUF, &fixture::profiles().encode_to_vec())?;
    assert_eq!(answer.status, 404);
    assert!(collector.finish()?.profiles.is_empty());
    Ok(())
}
