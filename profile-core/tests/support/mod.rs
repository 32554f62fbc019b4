//! What the tests of the profile model and its encoders share.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic)] // test helpers; no file uses all of them

pub mod conformance;
pub mod pprof_reader;
pub mod windows;

use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use prost::Message;
use std::process::Command;

/// Reads OTLP bytes with a decoder that is not ours.
pub fn decode(bytes: &[u8]) -> ExportProfilesServiceRequest {
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

#[path = "../../../tests/src/skip.rs"]
mod skip;
pub use skip::skip as skipped;
