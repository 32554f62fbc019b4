//! OTLP/HTTP as JSON: what is sent says the same as protobuf, and a server's answers in JSON are understood.

#[path = "../../../profile-core/tests/support/windows.rs"]
#[allow(dead_code, unreachable_pub, reason = "only a part is used here")]
mod windows;

use super::export_support::{PATIENCE, Server, Step, account, processor, profile};
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use profile_core::export::{Encoding, OtlpHttpExporter, OtlpSettings, ProfileProcessor};
use profile_core::profile::ProfileBatch;
use profile_core::stats::Stats;
use profile_tests::{conformance, otlp_read};
use proptest::prelude::*;
use prost::Message;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn json_says_what_protobuf_says(windows in proptest::collection::vec(windows::any_window(), 1..3)) {
        let profiles = windows.iter().map(windows::profile).collect();
        let mut resource = (*windows::resource()).clone();
        resource.set("odd \"text\"", "\u{1}\\\n\u{7f}é😀".into());
        resource.set("negative", (-7).into());
        let batch = ProfileBatch::new(resource.into(), profiles);
        let json = batch.to_otlp_json();
        if batch.is_empty() {
            prop_assert_eq!(json, "");
        } else {
            let by_protobuf = ExportProfilesServiceRequest::decode(batch.to_otlp().as_slice()).unwrap();
            prop_assert_eq!(conformance::check_json(&json), []);
            prop_assert_eq!(conformance::decode_json(&json).unwrap(), by_protobuf);
        }
    }
}

/// Runs three profiles as one batch through a server that answers so.
fn run(step: Step) -> (profile_core::stats::ExporterSnapshot, Server, String) {
    let server = Server::start([step]);
    let stats = Stats::new();
    let builder = OtlpHttpExporter::builder().with_settings(OtlpSettings::default());
    let exporter = builder.with_endpoint(server.url()).with_encoding(Encoding::Json).build().unwrap();
    let processor = processor(&stats).with_batch_size(3).with_batch_timeout(PATIENCE);
    let processor = processor.with_exporter(exporter).build().unwrap();
    (0..3).for_each(|number| processor.on_profile(profile(number)));
    let said = processor.shutdown(PATIENCE).map_or_else(|error| error.to_string(), |()| String::new());
    (account(&stats, 0), server, said)
}

#[test]
fn answers_in_json_are_understood_and_so_are_those_in_protobuf() {
    let json = |body: &str| Step::TakeWith("application/json; charset=utf-8", body.as_bytes().to_vec());
    let partial = r#"{"partialSuccess":{"rejectedProfiles":"2","errorMessage":"too \u006fld"}}"#;
    let (account, server, said) = run(json(partial));
    assert_eq!((account.exported, account.dropped.rejected), (1, 2));
    assert!(said.contains("2 profiles dropped: too old"), "{said}");
    let request = &server.requests()[0];
    assert_eq!(request.header("content-type"), ["application/json"]);
    assert_eq!(request.header("accept"), ["application/json"]);
    let sent = conformance::decode_json(std::str::from_utf8(&request.body).unwrap()).unwrap();
    assert_eq!(otlp_read::resolve(&sent).unwrap().len(), 3);

    for body in ["", "{}", r#"{"partialSuccess":null}"#, "{", "<html>"] {
        assert_eq!(run(json(body)).0.exported, 3, "{body:?}");
    }
    // Pyroscope answers in protobuf whatever it is sent.
    let (account, ..) = run(Step::TakePartly(1, "no"));
    assert_eq!((account.exported, account.dropped.rejected), (2, 1));

    let refusal = br#"{"code":3,"message":"bad \"profile\"","details":[]}"#.to_vec();
    let (account, _, said) = run(Step::Refuse(400, "content-type: application/json\r\n", refusal));
    assert_eq!((account.dropped.rejected, account.retries), (3, 0));
    assert!(said.contains("400 Bad Request: bad \"profile\""), "{said}");
}
