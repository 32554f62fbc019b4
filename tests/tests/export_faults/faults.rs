//! Every fault of a server, over every transport, at once and under a running profiler: each exporter has a server that
//! misbehaves in its own way. What the server took, and what we count as dropped, is all CPU time that the kernel
//! counted; the program is not held up, and the shutdown holds its deadline though some servers hang.

use super::any_server::{AnyServer, Transport};
use super::export_support::{self, PATIENCE, Recorder, Server, Step as Http, wait_until};
use super::grpc::retry_info;
use super::grpc_server::{GrpcServer, Step as Grpc};
use super::tls::Pki;
use profile_core::export::{BatchProfileProcessor, ProfileExporter, RetryPolicy};
use profile_core::stats::{ExporterSnapshot, Stats};
use profile_layer::Profiler;
use profile_tests::clock::{burn, process_cpu};
use std::collections::BTreeMap;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

const HERTZ: u32 = 199;
/// Fewer than that, and a script could not be followed.
const WINDOWS: usize = 8;
const DEADLINE: Duration = Duration::from_secs(5);

/// What becomes of the profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// All are delivered, at the first attempt.
    AtOnce,
    /// All are delivered, some after another attempt.
    Again,
    /// This one is refused for good; all others are delivered.
    One,
    /// None is delivered.
    Lost,
}

/// A fault that a server can script, and how either transport takes it.
type Fault = (&'static str, (Vec<Http>, End), (Vec<Grpc>, End));

/// An exporter, and where it sends to.
struct Case {
    what: String,
    exporter: Option<Box<dyn ProfileExporter>>,
    /// Nobody listens if there is none.
    server: Option<AnyServer>,
    end: End,
}

#[rustfmt::skip] // A table.
fn faults() -> Vec<Fault> {
    use End::{Again, AtOnce, Lost, One};
    let protobuf = "application/x-protobuf";
    let http = |status, headers| Http::Refuse(status, headers, Vec::new());
    let grpc = |code| Grpc::Refuse(code, Vec::new());
    let too_large = "grpc:%20received%20message%20larger%20than%20max%20(2%20vs.%201)".to_owned();
    let delay = Duration::from_millis(300);
    vec![
        ("none", (vec![Http::Take], AtOnce), (vec![Grpc::Take], AtOnce)),
        ("accepted, then hung", (vec![Http::Hang; 100], Lost), (vec![Grpc::Hang; 100], Lost)),
        ("slow", (vec![Http::TakeAfter(delay); 3], AtOnce), (vec![Grpc::TakeAfter(delay); 3], AtOnce)),
        ("429 with Retry-After",
            (vec![http(429, "retry-after: 1\r\n"), Http::Take, http(429, "retry-after: 0\r\n")], Again),
            (vec![Grpc::Refuse(8, vec![retry_info(1)]), Grpc::Http(429, "text/html")], Again)),
        ("503",
            (vec![http(503, ""), Http::Take, http(503, "")], Again),
            (vec![grpc(14), Grpc::RefuseLate(14), Grpc::Take, Grpc::Http(503, "text/html")], Again)),
        ("400", (vec![Http::Take, http(400, "")], One), (vec![Grpc::Take, grpc(3)], One)),
        // Larger than the server takes: the halves are requests of their own, and count as profiles.
        ("413",
            (vec![http(413, "")], AtOnce),
            (vec![Grpc::Refuse(8, vec![("grpc-message", too_large)])], AtOnce)),
        ("partial success",
            (vec![Http::TakePartly(1, "too old"), Http::TakePartly(0, "a warning")], One),
            (vec![Grpc::TakePartly(1, "too old"), Grpc::TakePartly(0, "a warning")], One)),
        ("connection cut",
            (vec![Http::CutRequest, Http::CutAnswer], Again),
            (vec![Grpc::CutRequest, Grpc::CutAnswer, Grpc::CutStatus], Again)),
        // Over HTTP the status decides. What speaks no gRPC has taken nothing.
        ("wrong content type",
            (vec![Http::TakeWith("text/html", b"<html>".to_vec())], AtOnce),
            (vec![Grpc::Http(200, "text/html")], One)),
        ("oversized answer",
            (vec![Http::TakeWith(protobuf, vec![b'x'; 1 << 20]), Http::TakeAndPour], AtOnce),
            (vec![Grpc::TakeWith(vec![0; 1 << 17]), Grpc::TakeAndPour], AtOnce)),
        ("malformed answer",
            (vec![Http::TakeWith(protobuf, vec![0xff; 100]), Http::TakeAndCutAnswer], AtOnce),
            (vec![Grpc::TakeWith(vec![0xff; 100]), Grpc::TakeWith(vec![0xff; 3])], AtOnce)),
        // Over gRPC that is a connection that fails.
        ("another protocol", (vec![Http::Babble], One), (vec![Grpc::Babble], Again)),
    ]
}

/// Those of [`faults`], and those that are not of a server that can be reached. `nobody` is a port without a listener.
fn cases(transports: &[Transport], pki: &Pki, nobody: u16) -> Vec<Case> {
    let case = |what: &str, transport: Transport, url: String, server, end| Case {
        what: format!("{what}, over {}", transport.protocol()),
        exporter: Some(transport.exporter(
            &url,
            url.starts_with("https").then(|| pki.root_file()).as_deref(),
            None,
        )),
        server,
        end,
    };
    let mut cases = Vec::new();
    for (transport, (what, http, grpc)) in
        transports.iter().flat_map(|one| faults().into_iter().map(|fault| (*one, fault)))
    {
        let (server, end) = match transport {
            Transport::Http | Transport::Json => (AnyServer::Http(Server::start(http.0)), http.1),
            Transport::Grpc => (AnyServer::Grpc(GrpcServer::start(grpc.0)), grpc.1),
        };
        cases.push(case(what, transport, server.url(), Some(server), end));
    }
    let elsewhere = pki.server("elsewhere.example", false);
    for &transport in transports {
        cases.push(case("refused", transport, format!("http://127.0.0.1:{nobody}"), None, End::Lost));
        let server = AnyServer::over_tls(transport, &elsewhere);
        let url = format!("https://localhost:{}", server.port());
        cases.push(case("TLS with the wrong name", transport, url, Some(server), End::Lost));
    }
    cases
}

impl Case {
    /// Every profile that was collected is taken, as it was collected, or counted as dropped.
    fn check(&self, account: &ExporterSnapshot, collected: &BTreeMap<u64, i64>) {
        let what = format!("{}: {account:?}", self.what);
        let (taken, profiles) = match &self.server {
            Some(server) => (server.taken(), server.taken_profiles()),
            None => (0, Vec::new()),
        };
        // A profile that came in parts has been given, and taken, as so many.
        let parts = account.given - collected.len() as u64;
        assert!(parts == 0 || self.what.starts_with("413"), "{what}");
        assert_eq!((account.exported, account.waiting()), (taken, 0), "{what}");
        assert_eq!(account.exported + account.dropped.total(), account.given, "{what}");
        let mut missing = collected.clone();
        for (start, weight) in profiles {
            *missing.get_mut(&start).unwrap_or_else(|| panic!("taken, but not collected: {what}")) -= weight;
        }
        assert!(missing.values().all(|weight| *weight >= 0), "taken twice: {what} {missing:?}");
        missing.retain(|_, weight| *weight > 0);
        assert_eq!(account.dropped.total(), missing.len() as u64, "{what} {missing:?}");
        for (start, weight) in &missing {
            assert_eq!(collected.get(start), Some(weight), "taken in part: {what}");
        }
        // On a slow machine the last window, which the shutdown closes, may come too late for any destination.
        let dropped = &account.dropped;
        assert!(self.end == End::Lost || dropped.shutdown <= 1, "{what}");
        let before = dropped.total() - dropped.shutdown;
        match self.end {
            End::AtOnce => assert_eq!((before, account.retries), (0, 0), "{what}"),
            End::Again => assert!(before == 0 && account.retries >= 1, "{what}"),
            End::One => assert_eq!((before, dropped.rejected), (1, 1), "{what}"),
            End::Lost => assert_eq!((account.exported, dropped.rejected), (0, 0), "{what}"),
        }
    }
}

/// The weight of every profile that was collected, by its start.
fn by_start(recorder: &Recorder) -> BTreeMap<u64, i64> {
    recorder.collected().into_iter().collect()
}

/// How often this thread has given up its CPU to wait for something, as the kernel counts it.
fn waits() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
    line.trim().parse().unwrap()
}

/// A profiler that gives every window to `recorder` and to `exporters`.
fn profiler(recorder: &Recorder, stats: &Arc<Stats>, exporters: Vec<Box<dyn ProfileExporter>>) -> Profiler {
    let retry = RetryPolicy::default()
        .with_initial_interval(Duration::from_millis(100))
        .with_max_interval(Duration::from_millis(400));
    let exporting = BatchProfileProcessor::builder()
        .with_resource(export_support::resource())
        .with_stats(Arc::clone(stats))
        .with_batch_size(1)
        .with_retry_policy(retry)
        .with_exporters(exporters);
    Profiler::builder()
        .with_frequency(HERTZ)
        // Longer than the test, which closes them: then none is lost because symbolising, slow in a test, falls behind.
        .with_window(Duration::from_secs(60))
        .with_processor(recorder.clone())
        .with_processor(exporting.build().unwrap())
        .build()
        .unwrap()
}

/// Works for a window; returns how often the work had to wait, and what the process has used when it was done.
fn window(profiler: &Profiler) -> (u64, Duration) {
    let before = waits();
    burn(Duration::from_millis(300)).unwrap();
    let (waits, cpu) = (waits() - before, process_cpu().unwrap());
    profiler.collect(PATIENCE).unwrap();
    (waits, cpu)
}

#[test]
fn whatever_servers_do_all_cpu_time_is_delivered_or_counted_as_dropped() {
    run(&[Transport::Http, Transport::Grpc]);
    // By itself, since it takes a server as long to hold JSON against the rules as all others together.
    run(&[Transport::Json]);
}

fn run(transports: &[Transport]) {
    // A port that belongs to the near end of a connection: nobody listens there, and nobody else can get it meanwhile.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connection = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let mut cases = cases(transports, &Pki::new(), connection.local_addr().unwrap().port());
    let exporters = cases.iter_mut().filter_map(|case| case.exporter.take()).collect();
    let (recorder, stats) = (Recorder::default(), Stats::new());
    let start = process_cpu().unwrap();
    let profiler = profiler(&recorder, &stats, exporters);
    let worked: Vec<_> = (0..WINDOWS).map(|_| window(&profiler)).collect();
    let windows = by_start(&recorder);

    for case in cases.iter().filter(|case| case.end != End::Lost) {
        let server = case.server.as_ref().unwrap();
        wait_until(&format!("the end of the script: {}", case.what), || {
            server.script_is_over() || {
                window(&profiler);
                false
            }
        });
    }
    let begun = Instant::now();
    profiler.shutdown_with_timeout(DEADLINE).unwrap_err();
    let took = begun.elapsed();
    // The machine may be slow; but nobody waited for the servers that hang.
    assert!(took < DEADLINE + PATIENCE / 4, "the shutdown took {took:?}");

    let collected = by_start(&recorder);
    for (case, account) in cases.iter().zip(&stats.snapshot().exporters) {
        case.check(account, &collected);
    }
    let waits: u64 = worked.iter().map(|(waits, _)| waits).sum();
    let cpu = worked[WINDOWS - 1].1 - start;
    let weight: i64 = windows.values().sum();
    let ratio = weight as f64 / f64::from(HERTZ) / cpu.as_secs_f64();
    println!(
        "{transports:?}: {waits} waits in {WINDOWS} windows; {cpu:?} of CPU time, sampled {ratio:.3} of it"
    );
    assert!(waits < WINDOWS as u64, "{waits} waits in {WINDOWS} windows");
    // What the profiler itself uses before it starts, and until its first look at a thread, is in no sample.
    assert!((0.85..1.1).contains(&ratio), "{weight} samples in {cpu:?} of CPU time: {ratio}");
}
