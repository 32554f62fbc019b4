//! The exporter over HTTP, as these tests configure it.

use super::{PATIENCE, Server, Step, assert_adds_up, processor, profile};
use profile_core::export::{OtlpHttpExporter, OtlpHttpExporterBuilder, OtlpSettings, ProfileProcessor};
use profile_core::stats::{ExporterSnapshot, Stats};

/// An exporter that the environment of the test run does not touch.
pub fn exporter(server: &Server) -> OtlpHttpExporterBuilder {
    OtlpHttpExporter::builder().with_settings(OtlpSettings::default()).with_endpoint(server.url())
}

/// Runs one profile through a processor and a server that follows `script`, and shuts down with plenty of time.
pub fn run_one(script: impl IntoIterator<Item = Step>) -> (ExporterSnapshot, Server) {
    let server = Server::start(script);
    let stats = Stats::new();
    let processor = processor(&stats).with_exporter(exporter(&server).build().unwrap()).build().unwrap();
    processor.on_profile(profile(1));
    // A loss is an error; the account tells which.
    drop(processor.shutdown(PATIENCE));
    let account = assert_adds_up(&stats, &server, 1);
    (account, server)
}
