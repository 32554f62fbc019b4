//! Pyroscope's push API against a scripted server on a real socket: what is sent, and what becomes of it whatever the
//! server does.
#![cfg(feature = "pyroscope")]
#![allow(clippy::unwrap_used, clippy::panic)] // In helpers too, which clippy does not take for tests.

mod export_support;

use export_support::{PATIENCE, Server, Step, account, processor, profile, resource};
use profile_core::config::{Environment, ExporterKind};
use profile_core::error::ErrorKind;
use profile_core::export::{
    ProfileProcessor, PyroscopeExporter, PyroscopeExporterBuilder, PyroscopeSettings,
};
use profile_core::profile::ProfileBatch;
use profile_core::stats::{ExporterSnapshot, Stats};
use prost::Message;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The request, written down once more from Pyroscope's own description, so that a wrong number does not pass.
#[derive(Clone, PartialEq, Message)]
struct PushRequest {
    #[prost(message, repeated, tag = "1")]
    series: Vec<Series>,
}

#[derive(Clone, PartialEq, Message)]
struct Series {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(bytes = "vec", tag = "1")]
    raw_profile: Vec<u8>,
}

/// An exporter that the environment of the test run does not touch.
fn exporter(server: &Server) -> PyroscopeExporterBuilder {
    PyroscopeExporter::builder().with_settings(PyroscopeSettings::default()).with_endpoint(server.url())
}

/// What Pyroscope answers with when it has taken a request.
fn taken() -> Step {
    Step::TakeWith("application/proto", Vec::new())
}

/// Sends `count` profiles to a server that follows `script`; every one of them must be accounted for.
fn run(script: impl IntoIterator<Item = Step>, count: u64) -> (ExporterSnapshot, Server) {
    let server = Server::start(script);
    let stats = Stats::new();
    let processor = processor(&stats).with_batch_size(8).with_exporter(exporter(&server).build().unwrap());
    let processor = processor.build().unwrap();
    (0..count).for_each(|number| processor.on_profile(profile(number)));
    drop(processor.shutdown(PATIENCE));
    let account = account(&stats, 0);
    assert_eq!((account.given, account.exported + account.dropped.total()), (count, count), "{account:?}");
    (account, server)
}

#[test]
fn what_arrives_is_one_pprof_profile_a_request_with_the_labels_of_its_series() {
    let server = Server::start([taken(), taken(), taken()]);
    let stats = Stats::new();
    let exporter = exporter(&server).with_tenant_id("shop-tenant").with_basic_auth("Aladdin", "open sesame");
    let shown = format!("{exporter:?}");
    let exporter = exporter.build().unwrap();
    let shown = format!("{shown}{exporter:?}");
    assert!(
        !["shop-tenant", "open sesame", "QWxhZGRpbjpvcGVu"].iter().any(|secret| shown.contains(secret)),
        "{shown}"
    );
    let processor = processor(&stats).with_batch_size(3).with_exporter(exporter).build().unwrap();
    let profiles: Vec<_> = (0..3).map(profile).collect();
    profiles.iter().for_each(|profile| processor.on_profile(Arc::clone(profile)));
    processor.shutdown(PATIENCE).unwrap();

    let requests = server.requests();
    assert_eq!(requests.len(), 3, "one for each profile");
    for (request, profile) in requests.iter().zip(&profiles) {
        let first = request.head.lines().next().unwrap();
        assert_eq!(first, "POST /push.v1.PusherService/Push HTTP/1.1");
        assert_eq!(request.header("content-type"), ["application/proto"]);
        assert_eq!(request.header("connect-protocol-version"), ["1"]);
        assert_eq!(request.header("x-scope-orgid"), ["shop-tenant"]);
        assert_eq!(request.header("authorization"), ["Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="]);
        let sent = PushRequest::decode(request.body.as_slice()).unwrap();
        let [series] = &sent.series[..] else { panic!("{sent:?}") };
        let labels: Vec<_> =
            series.labels.iter().map(|label| (label.name.as_str(), label.value.as_str())).collect();
        assert_eq!(labels, [("__name__", "process_cpu"), ("service_name", "export-test")]);
        let [sample] = &series.samples[..] else { panic!("{sent:?}") };
        let batch = ProfileBatch::new(Arc::new(resource()), vec![Arc::clone(profile)]);
        assert_eq!(sample.raw_profile, batch.to_pprof());
    }
    let account = account(&stats, 0);
    let bytes: usize = requests.iter().map(|request| request.body.len()).sum();
    assert_eq!((account.exported, account.batches, account.bytes_sent), (3, 3, bytes as u64));
}

#[test]
fn what_is_refused_is_tried_again_only_where_that_helps() {
    for status in [429, 502, 503, 504] {
        let (account, server) = run([Step::Refuse(status, "", Vec::new()), taken()], 1);
        assert_eq!((account.exported, account.retries, server.requests().len()), (1, 1, 2), "{status}");
    }
    for status in [400, 401, 403, 404, 413, 415, 500, 501] {
        let (account, server) = run([Step::Refuse(status, "", Vec::new())], 1);
        assert_eq!(
            (account.dropped.rejected, account.retries, server.requests().len()),
            (1, 0, 1),
            "{status}"
        );
    }
    let (account, server) = run([Step::Refuse(429, "retry-after: 1\r\n", Vec::new()), taken()], 1);
    let requests = server.requests();
    assert_eq!(account.exported, 1);
    assert!(requests[1].at - requests[0].at >= Duration::from_secs(1));
}

#[test]
fn one_profile_that_is_refused_costs_no_other() {
    let (account, server) = run([taken(), Step::Refuse(400, "", Vec::new()), taken()], 3);
    assert_eq!((account.exported, account.dropped.rejected, server.requests().len()), (2, 1, 3));
}

#[test]
fn connections_that_are_cut_and_answers_without_sense_are_survived() {
    for step in [Step::CutRequest, Step::CutAnswer] {
        let (account, _) = run([step, taken()], 1);
        assert_eq!((account.exported, account.retries), (1, 1));
    }
    for step in [Step::TakeAndCutAnswer, Step::TakeAndPour, Step::TakeWith("text/html", b"<html>".to_vec())] {
        let (account, _) = run([step], 1);
        assert_eq!((account.exported, account.retries), (1, 0), "the status alone decides");
    }
    let (account, _) = run([Step::Babble], 1);
    assert_eq!(account.dropped.rejected, 1);
}

#[test]
fn a_shutdown_holds_its_deadline_when_the_server_hangs() {
    let server = Server::start([Step::Hang]);
    let stats = Stats::new();
    let exporter = exporter(&server).with_timeout(Duration::from_secs(3600)).build().unwrap();
    let processor = processor(&stats).with_exporter(exporter).build().unwrap();
    processor.on_profile(profile(1));
    let start = Instant::now();
    assert_eq!(processor.shutdown(Duration::from_millis(300)).unwrap_err().kind(), ErrorKind::Deadline);
    assert!(start.elapsed() < Duration::from_secs(20));
    assert_eq!(account(&stats, 0).dropped.shutdown, 1);
}

#[test]
fn what_a_server_repeats_is_shown_without_secrets() {
    let body = b"{\"code\":\"unauthenticated\",\"message\":\"open-sesame of QWxhZGRpbjpvcGVuLXNlc2FtZQ==\"}";
    let server = Server::start([Step::Refuse(401, "content-type: application/json\r\n", body.to_vec())]);
    let stats = Stats::new();
    let exporter = exporter(&server).with_basic_auth("Aladdin", "open-sesame").build().unwrap();
    let processor = processor(&stats).with_exporter(exporter).build().unwrap();
    processor.on_profile(profile(1));
    let error = processor.shutdown(PATIENCE).unwrap_err().to_string();
    assert!(error.contains("401") && error.contains("*** of ***"), "{error}");
}

#[test]
fn malformed_settings_fail_to_build_with_one_clear_error() {
    let builder = || PyroscopeExporter::builder().with_settings(PyroscopeSettings::default());
    for (built, words) in [
        (builder().with_endpoint("localhost:4040").build(), "\"localhost:4040\" is not a URL"),
        (builder().with_endpoint("http://host/?x=s3cret").build(), "has a query"),
        (builder().with_endpoint("http://user:s3cret@host").build(), "credentials"),
        (builder().with_tenant_id("s3cret\n").build(), "not printable"),
        (builder().with_tenant_id("").build(), "empty"),
        (builder().with_basic_auth("us:er", "s3cret").build(), "colon"),
        (builder().with_basic_auth("user", "s3cret\n").build(), "control character"),
        (builder().with_basic_auth("user", "").build(), "empty"),
        (builder().with_header("no name", "s3cret").build(), "not a header name"),
        (builder().with_timeout(Duration::ZERO).build(), "no time"),
    ] {
        let error = built.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let text = format!("{error} {error:?}");
        assert!(text.contains(words) && !text.contains("s3cret"), "{text}");
    }
}

#[test]
fn the_environment_configures_it_by_the_names_that_pyroscopes_clients_have() {
    let server = Server::start([taken()]);
    let url = server.url();
    let variables = [
        ("OTEL_PROFILES_EXPORTER", "pyroscope"),
        ("PYROSCOPE_SERVER_ADDRESS", url.as_str()),
        ("PYROSCOPE_TENANT_ID", "tenant-7"),
        ("PYROSCOPE_BASIC_AUTH_USER", "Aladdin"),
        ("PYROSCOPE_BASIC_AUTH_PASSWORD", "open sesame"),
    ];
    let read = |variables: &[(&str, &str)]| {
        Environment::read(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
        })
    };
    let environment = read(&variables);
    assert!(environment.warnings.is_empty(), "{environment:?}");
    assert_eq!(environment.named_exporters(), [ExporterKind::Pyroscope]);
    let shown = format!("{environment:?}");
    assert!(!shown.contains("tenant-7") && !shown.contains("sesame"), "{shown}");
    let processor = processor(&Stats::new()).with_exporters(environment.exporters(Vec::new()).exporters);
    let processor = processor.build().unwrap();
    processor.on_profile(profile(1));
    processor.shutdown(PATIENCE).unwrap();
    let request = &server.requests()[0];
    assert_eq!(request.header("x-scope-orgid"), ["tenant-7"]);
    assert_eq!(request.header("authorization"), ["Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="]);

    for (name, value, words) in [
        ("PYROSCOPE_SERVER_ADDRESS", "pyroscope", "is not a URL"),
        ("PYROSCOPE_TENANT_ID", "s3cret\u{e9}", "not printable"),
        ("PYROSCOPE_BASIC_AUTH_USER", "s3cret", "PYROSCOPE_BASIC_AUTH_PASSWORD is not set"),
        ("PYROSCOPE_BASIC_AUTH_PASSWORD", "s3cret", "PYROSCOPE_BASIC_AUTH_USER is not set"),
    ] {
        let environment = read(&[(name, value)]);
        let [warning] = &environment.warnings[..] else { panic!("{environment:?}") };
        assert!(
            warning.starts_with(name) && warning.contains(words) && !warning.contains("s3cret"),
            "{warning}"
        );
        assert_eq!(environment.named_exporters(), [], "an address alone switches nothing on");
    }
}
