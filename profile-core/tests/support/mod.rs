//! What the tests of the profile model and its encoders share.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic)] // test helpers; no file uses all of them

pub mod pprof_reader;
pub mod windows;

use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
pub use profile_test_support::{conformance, skip::skip as skipped};
use prost::Message;
use std::process::Command;

/// Reads OTLP bytes, which must be as their receivers want them, with a decoder that is not ours.
pub fn decode(bytes: &[u8]) -> ExportProfilesServiceRequest {
    decode_but(bytes, &[])
}

/// As [`decode`], of bytes that cannot obey some rules: their names, each with the reason.
pub fn decode_but(bytes: &[u8], exceptions: &[(&str, &str)]) -> ExportProfilesServiceRequest {
    conformance::assert_conforms_but(bytes, exceptions);
    ExportProfilesServiceRequest::decode(bytes).unwrap()
}

/// Whether `program` can be run; says that `test` is skipped if not.
pub fn available(program: &str, arguments: &[&str], test: &str) -> bool {
    let found = Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success());
    if !found {
        skipped(test, &format!("`{program}` is not there"));
    }
    found
}
