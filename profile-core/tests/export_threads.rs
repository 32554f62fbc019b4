//! The threads of the exporters. The only test of its process, since it counts threads.
#![cfg(all(feature = "otlp-http", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::panic)] // In helpers too, which clippy does not take for tests.

mod export_support;

use export_support::http::exporter;
use export_support::{PATIENCE, Server, Step, processor, profile, wait_until};
use profile_core::export::ProfileProcessor;
use profile_core::stats::Stats;
use std::fs;
use std::time::Duration;

fn export_threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.trim() == "profile-export").count()
}

#[test]
fn each_exporter_has_one_thread_which_ends_with_the_processor() {
    let (live, hanging) = (Server::start([]), Server::start([Step::Hang]));
    let build = || {
        let patient = exporter(&hanging).with_timeout(Duration::from_secs(3600)).build().unwrap();
        let other = exporter(&live).build().unwrap();
        processor(&Stats::new()).with_exporter(patient).with_exporter(other).build().unwrap()
    };
    let processor = build();
    wait_until("a thread for each", || export_threads() == 2);
    processor.on_profile(profile(1));
    wait_until("the request", || hanging.connections() == 1);
    processor.shutdown(Duration::from_millis(200)).unwrap_err();
    wait_until("the end of an interrupted request", || export_threads() == 0);

    let processor = build();
    processor.on_profile(profile(2));
    processor.shutdown(PATIENCE).unwrap();
    wait_until("the end after a shutdown in order", || export_threads() == 0);
    drop(build());
    wait_until("the end after a drop", || export_threads() == 0);
}
