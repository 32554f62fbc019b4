//! The environment of the process: read by a child process of this test, whose environment is set for it.
#![cfg(feature = "otlp-http")]
#![allow(clippy::unwrap_used, clippy::panic)] // In helpers too, which clippy does not take for tests.

mod export_support;

use export_support::{PATIENCE, Server, processor, profile, windows_of};
use profile_core::config::Environment;
use profile_core::export::{OtlpHttpExporter, ProfileProcessor};
use profile_core::stats::Stats;
use std::process::{Command, Output};

/// Runs [`child`] with these variables.
fn run_child(variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture"]).env("EXPORT_TEST_CHILD", "1");
    command.envs(variables.iter().copied()).output().unwrap()
}

/// Delivers two profiles: one by the exporters of the environment, one by an exporter that sets one header itself.
#[test]
fn child() {
    if std::env::var_os("EXPORT_TEST_CHILD").is_none() {
        return;
    }
    let environment = Environment::of_process();
    environment.report();
    let by_environment = environment.exporters(Vec::new()).exporters;
    let own = OtlpHttpExporter::builder().with_header("A", "program").build().unwrap();
    for exporters in [by_environment, vec![Box::new(own)]] {
        let processor = processor(&Stats::new()).with_exporters(exporters).build().unwrap();
        processor.on_profile(profile(1));
        processor.shutdown(PATIENCE).unwrap();
    }
}

#[test]
fn exporters_are_configured_by_the_environment_and_then_by_the_program() {
    let server = Server::start([]);
    let output = run_child(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &server.url()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=environment,b=en%20vironment"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("PROFILE_FREQUENCY", "fast"),
    ]);
    assert!(output.status.success(), "{output:?}");
    let [by_environment, by_program] = <[_; 2]>::try_from(server.requests()).unwrap();
    assert_eq!(by_environment.header("a"), ["environment"]);
    assert_eq!(by_program.header("a"), ["program"]);
    for request in [by_environment, by_program] {
        assert!(request.head.starts_with("POST /v1development/profiles "), "{}", request.head);
        assert_eq!(request.header("b"), ["en vironment"]);
        assert_eq!(request.header("content-encoding"), ["gzip"]);
        assert_eq!(windows_of(&request), [1]);
    }
    let said = String::from_utf8(output.stderr).unwrap();
    let warning =
        "profile: warning: PROFILE_FREQUENCY: \"fast\" is not a whole number from 1 to 1000; ignored";
    assert_eq!(said.lines().filter(|line| *line == warning).count(), 1, "once, though read twice: {said}");
}
