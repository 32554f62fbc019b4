//! A running profiler whose deliveries fail in many ways: what the server took, and what we count as dropped, is all
//! CPU time that the kernel counted; and the program is not held up.

use super::export_support::{self, PATIENCE, Server, processor};
use super::grpc_server::{self, GrpcServer};
use profile_core::export::{OtlpHttpExporter, OtlpSettings, ProfileExporter, ProfileProcessor};
use profile_core::profile::Profile;
use profile_core::stats::Stats;
use profile_layer::Profiler;
use profile_tests::clock::{burn, process_cpu};
use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A process has one profiler, so these tests take turns.
static TURN: Mutex<()> = Mutex::new(());

const PERIOD: Duration = Duration::from_nanos(1_000_000_000 / 499);

/// Keeps the start and the weight of every profile that is collected.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<BTreeMap<u64, i64>>>);

impl ProfileProcessor for Recorder {
    fn on_profile(&self, profile: Arc<Profile>) {
        let weight = i64::try_from(profile.total_weight()).unwrap();
        if weight > 0 {
            self.0.lock().unwrap().insert(profile.start_unix_nanos(), weight);
        }
    }

    fn force_flush(&self, _: Duration) -> profile_core::error::Result<()> {
        Ok(())
    }

    fn shutdown(&self, _: Duration) -> profile_core::error::Result<()> {
        Ok(())
    }
}

/// How often this thread has given up its CPU to wait for something, as the kernel counts it.
fn waits() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
    line.trim().parse().unwrap()
}

fn assert_accounted(exporter: Box<dyn ProfileExporter>, taken: impl Fn() -> Vec<(u64, i64)>) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let recorder = Recorder::default();
    let stats = Stats::new();
    let exporting = processor(&stats).with_exporters(vec![exporter]).build().unwrap();
    let start = process_cpu().unwrap();
    let profiler = Profiler::builder()
        .with_frequency(499)
        .with_window(Duration::from_millis(200))
        .with_processor(recorder.clone())
        .with_processor(exporting)
        .build()
        .unwrap();
    let waits_before = waits();
    burn(Duration::from_secs(2)).unwrap();
    let waits = waits() - waits_before;
    drop(profiler.shutdown());
    let cpu = process_cpu().unwrap() - start;

    let collected = recorder.0.lock().unwrap().clone();
    let mut missing = collected.clone();
    for (start, weight) in taken() {
        assert_eq!(missing.remove(&start), Some(weight), "taken once, and as it was collected");
    }
    let account = export_support::account(&stats, 0);
    assert_eq!(account.given, collected.len() as u64, "{account:?}");
    assert_eq!(account.dropped.total(), missing.len() as u64, "{account:?} {missing:?}");
    assert!(account.dropped.rejected >= 2 && account.retries >= 3, "the script was followed: {account:?}");
    assert!(waits < collected.len() as u64, "{waits} waits in {} windows", collected.len());

    let weight: i64 = collected.values().sum();
    let ratio = weight as f64 * PERIOD.as_secs_f64() / cpu.as_secs_f64();
    // What the profiler itself uses before it starts and after it stops is in no sample.
    assert!((0.85..1.1).contains(&ratio), "{weight} samples in {cpu:?} of CPU time: {ratio}");
}

#[test]
fn over_http_all_cpu_time_is_delivered_or_counted_as_dropped() {
    use export_support::Step;
    let refuse = |status| Step::Refuse(status, "", Vec::new());
    let server = Server::start([
        Step::Take,
        refuse(503),
        Step::Take,
        refuse(400),
        Step::CutRequest,
        Step::TakeAfter(Duration::from_millis(300)),
        Step::Refuse(429, "retry-after: 0\r\n", Vec::new()),
        Step::CutAnswer,
        Step::TakeWith("text/html", b"<html>".to_vec()),
        refuse(500),
    ]);
    let builder = OtlpHttpExporter::builder().with_settings(OtlpSettings::default());
    let exporter = builder.with_endpoint(server.url()).with_timeout(PATIENCE).build().unwrap();
    assert_accounted(Box::new(exporter), || server.taken_profiles());
}

#[test]
fn over_grpc_all_cpu_time_is_delivered_or_counted_as_dropped() {
    use grpc_server::Step;
    let refuse = |code| Step::Refuse(code, Vec::new());
    let server = GrpcServer::start([
        Step::Take,
        refuse(14),
        Step::Take,
        refuse(3),
        Step::CutRequest,
        Step::TakeAfter(Duration::from_millis(300)),
        Step::RefuseLate(4),
        Step::CutStatus,
        Step::TakeWith(vec![0xff; 100]),
        refuse(13),
    ]);
    let exporter = super::grpc::exporter(&server).with_timeout(PATIENCE).build().unwrap();
    assert_accounted(Box::new(exporter), || server.taken_profiles());
}
