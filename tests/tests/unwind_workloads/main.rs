//! Our unwinder against framehop over the workloads that need crates which profile-core does without: a regular expression
//! engine and JSON, and the workers of tokio. The other workloads are in profile-core's test `unwind_oracle`, and all
//! of them in other kinds of programs in `scripts/unwind-matrix`.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(unsafe_code)] // a signal handler and timers
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, dead_code)] // a test, which uses a part of the harness

mod crates;
#[path = "../../../profile-core/tests/unwind_oracle/harness.rs"]
mod harness;
#[path = "../../../profile-core/tests/unwind_support/mod.rs"]
mod unwind_support;

use harness::{STRICT, compare};

#[test]
fn regex_and_json() {
    compare("regex and JSON", STRICT, crates::regex_and_json);
}

#[test]
fn tokio_workers() {
    crates::on_workers("tokio workers", STRICT);
}
