//! OTLP/gRPC: what is sent, and what becomes of it whatever the server does.

use super::export_support::{PATIENCE, account, processor, profile, profile_of, resource, wait_until};
use super::grpc_server::{GrpcServer, Step};
use profile_core::error::ErrorKind;
use profile_core::export::{
    Compression, OtlpGrpcExporter, OtlpGrpcExporterBuilder, OtlpSettings, ProfileProcessor,
};
use profile_core::profile::ProfileBatch;
use profile_core::stats::{ExporterSnapshot, Stats};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An exporter that the environment of the test run does not touch.
pub fn exporter(server: &GrpcServer) -> OtlpGrpcExporterBuilder {
    OtlpGrpcExporter::builder().with_settings(OtlpSettings::default()).with_endpoint(server.url())
}

fn assert_adds_up(stats: &Stats, server: &GrpcServer, given: u64) -> ExporterSnapshot {
    let account = account(stats, 0);
    assert_eq!(account.given, given, "{account:?}");
    assert_eq!(account.exported + account.dropped.total(), given, "{account:?}");
    assert_eq!(account.exported, server.taken(), "{account:?}");
    account
}

/// Runs one profile through a processor and a server that follows `script`, and shuts down with plenty of time.
fn run_one(script: impl IntoIterator<Item = Step>) -> (ExporterSnapshot, GrpcServer) {
    let server = GrpcServer::start(script);
    let stats = Stats::new();
    let processor = processor(&stats).with_exporter(exporter(&server).build().unwrap()).build().unwrap();
    processor.on_profile(profile(1));
    // A loss is an error; the account tells which.
    drop(processor.shutdown(PATIENCE));
    let account = assert_adds_up(&stats, &server, 1);
    (account, server)
}

fn refuse(code: u32) -> Step {
    Step::Refuse(code, Vec::new())
}

#[test]
fn what_arrives_is_what_was_sent() {
    for (compression, encoding) in
        [(Compression::None, None), (Compression::Gzip, Some("gzip")), (Compression::Zstd, Some("zstd"))]
    {
        let server = GrpcServer::start([]);
        let stats = Stats::new();
        let exporter = exporter(&server).with_compression(compression).with_header("X-Scope-OrgID", "tenant");
        let processor = processor(&stats)
            .with_batch_size(3)
            .with_batch_timeout(PATIENCE)
            .with_exporter(exporter.build().unwrap())
            .build()
            .unwrap();
        let profiles: Vec<_> = (0..3).map(profile).collect();
        profiles.iter().for_each(|profile| processor.on_profile(Arc::clone(profile)));
        processor.force_flush(PATIENCE).unwrap();
        processor.on_profile(profile(3));
        processor.shutdown(PATIENCE).unwrap();
        assert_adds_up(&stats, &server, 4);

        let requests = server.requests();
        let batch = ProfileBatch::new(Arc::new(resource()), profiles);
        assert_eq!(requests[0].body, batch.to_otlp());
        assert_eq!((requests.len(), server.connections()), (2, 1), "one connection for all");
        let path = "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export";
        assert!(requests[0].head.starts_with(&format!("POST {path} HTTP/2")), "{}", requests[0].head);
        assert_eq!(requests[0].header("content-type"), ["application/grpc"]);
        assert_eq!(requests[0].header("te"), ["trailers"]);
        assert_eq!(requests[0].header("grpc-encoding"), Vec::from_iter(encoding));
        assert_eq!(requests[0].header("x-scope-orgid"), ["tenant"]);
        assert_eq!(requests[0].header("grpc-timeout").len(), 1);
        assert!(requests[0].header("user-agent")[0].starts_with("OTel-OTLP-Exporter-Rust-profiles/"));
    }
}

/// The codes that the specification lists: <https://opentelemetry.io/docs/specs/otlp/#failures>.
#[test]
fn retryable_codes_are_tried_again_and_no_others() {
    for code in 1..=16 {
        let (account, server) = run_one([refuse(code)]);
        let calls = server.requests().len();
        if [1, 4, 10, 11, 14, 15].contains(&code) {
            assert_eq!((account.exported, account.retries, calls), (1, 1, 2), "{code}");
        } else {
            assert_eq!((account.dropped.rejected, account.retries, calls), (1, 0, 1), "{code}");
        }
    }
    let (account, _) = run_one([Step::RefuseLate(14), Step::RefuseLate(3)]);
    assert_eq!((account.dropped.rejected, account.retries), (1, 1), "in trailers as well");
}

#[test]
fn retry_info_is_obeyed() {
    for code in [8, 14] {
        let (account, server) = run_one([Step::Refuse(code, vec![retry_info(1)])]);
        assert_eq!((account.exported, account.retries), (1, 1), "{code}");
        let requests = server.requests();
        let waited = requests[1].at - requests[0].at;
        assert!(waited >= Duration::from_secs(1), "{waited:?}");
    }
    let malformed = vec![("grpc-status-details-bin", "!".to_owned()), ("grpc-message", "%".to_owned())];
    let (account, _) = run_one([Step::Refuse(14, malformed)]);
    assert_eq!((account.exported, account.retries), (1, 1), "details that make no sense are no details");
}

/// The trailer by which a server asks to wait so many seconds.
pub fn retry_info(seconds: u8) -> (&'static str, String) {
    // google.rpc.Status { details: [Any { RetryInfo { retry_delay } }] }
    let type_url = "type.googleapis.com/google.rpc.RetryInfo";
    let any =
        [&[0x0a, type_url.len() as u8], type_url.as_bytes(), &[0x12, 4, 0x0a, 2, 0x08, seconds]].concat();
    ("grpc-status-details-bin", base64(&[&[0x1a, any.len() as u8], any.as_slice()].concat()))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = |chunk: &[u8]| {
        let bits =
            chunk.iter().enumerate().fold(0_u32, |bits, (at, byte)| bits | u32::from(*byte) << (16 - 8 * at));
        (0..=chunk.len()).map(|at| DIGITS[(bits >> (18 - 6 * at) & 63) as usize] as char).collect::<String>()
    };
    bytes.chunks(3).map(digits).collect()
}

#[test]
fn a_slow_server_is_waited_for() {
    let (account, _) = run_one([Step::TakeAfter(Duration::from_millis(700))]);
    assert_eq!((account.exported, account.retries), (1, 0));
}

#[test]
fn what_is_too_large_is_sent_in_halves() {
    let server = GrpcServer::start([Step::RefuseAbove(3)]);
    let stats = Stats::new();
    let processor = processor(&stats).with_exporter(exporter(&server).build().unwrap()).build().unwrap();
    processor.on_profile(profile_of(0, &(1..=16).collect::<Vec<u64>>()));
    processor.shutdown(PATIENCE).unwrap();
    let mut delivered: Vec<_> = server.requests().iter().map(|request| request.weights()).collect();
    delivered.retain(|weights| weights.len() <= 3);
    let parts = delivered.len() as u64;
    let mut weights = delivered.concat();
    weights.sort_unstable();
    assert_eq!(weights, (1..=16).collect::<Vec<i64>>(), "every sample, and each once");
    assert_adds_up(&stats, &server, parts);
}

#[test]
fn a_partial_success_is_counted_and_not_tried_again() {
    let server = GrpcServer::start([Step::TakePartly(2, "too old")]);
    let stats = Stats::new();
    let processor = processor(&stats)
        .with_batch_size(3)
        .with_batch_timeout(PATIENCE)
        .with_exporter(exporter(&server).build().unwrap())
        .build()
        .unwrap();
    (0..3).for_each(|number| processor.on_profile(profile(number)));
    let error = processor.shutdown(PATIENCE).unwrap_err();
    assert!(error.to_string().contains("2 profiles dropped: too old"), "{error}");
    let account = assert_adds_up(&stats, &server, 3);
    assert_eq!((account.exported, account.dropped.rejected, account.retries), (1, 2, 0));
}

#[test]
fn a_connection_that_is_cut_is_tried_again() {
    for step in [Step::CutRequest, Step::CutAnswer, Step::CutStatus, Step::Babble] {
        let (account, server) = run_one([step.clone()]);
        assert_eq!((account.exported, account.retries), (1, 1), "{step:?}");
        assert_eq!(server.connections(), 2, "{step:?}: not on the connection that failed");
    }
}

#[test]
fn an_answer_that_makes_no_sense_does_not_undo_a_delivery() {
    let compressed = [[1, 0, 0, 0, 0].as_slice()].concat();
    for message in [vec![], vec![0xff; 3], vec![0, 0, 0, 0, 9], vec![0xff; 100], compressed, vec![0; 1 << 17]]
    {
        let (account, server) = run_one([Step::TakeWith(message)]);
        assert_eq!((account.exported, account.retries, server.requests().len()), (1, 0, 1));
    }
    let (account, _) = run_one([Step::TakeAndPour]);
    assert_eq!((account.exported, account.retries), (1, 0), "an answer without end is not read to its end");
}

#[test]
fn a_server_that_knows_no_grpc_is_a_refusal_unless_it_is_overloaded() {
    for (code, content_type) in [(200, "text/html"), (404, "text/html"), (400, ""), (500, ""), (301, "")] {
        let (account, server) = run_one([Step::Http(code, content_type)]);
        assert_eq!((account.dropped.rejected, server.requests().len()), (1, 1), "{code}");
    }
    for code in [429, 502, 503, 504] {
        let (account, _) = run_one([Step::Http(code, "text/html")]);
        assert_eq!((account.exported, account.retries), (1, 1), "{code}");
    }
}

#[test]
fn shutdown_holds_its_deadline_when_nobody_listens() {
    // A port that belongs to the near end of a connection: nobody listens there, and nobody else can get it meanwhile.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connection = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let port = connection.local_addr().unwrap().port();
    let builder = OtlpGrpcExporter::builder().with_settings(OtlpSettings::default());
    let exporter = builder.with_endpoint(format!("http://127.0.0.1:{port}")).build().unwrap();
    let stats = Stats::new();
    let processor = processor(&stats).with_exporter(exporter).build().unwrap();
    processor.on_profile(profile(1));
    wait_until("a retry", || account(&stats, 0).retries >= 2);
    processor.on_profile(profile(2));
    let start = Instant::now();
    let error = processor.shutdown(Duration::from_millis(300)).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(20));
    assert!(matches!(error.kind(), ErrorKind::Export | ErrorKind::Deadline), "{error}");
    let account = account(&stats, 0);
    assert_eq!((account.given, account.dropped.shutdown), (2, 2), "{account:?}");
}

#[test]
fn shutdown_holds_its_deadline_when_the_server_hangs() {
    let server = GrpcServer::start([Step::Hang]);
    let stats = Stats::new();
    let exporter = exporter(&server).with_timeout(Duration::from_secs(3600)).build().unwrap();
    let processor = processor(&stats).with_exporter(exporter).build().unwrap();
    (0..3).for_each(|number| processor.on_profile(profile(number)));
    wait_until("the call", || server.connections() == 1);
    let start = Instant::now();
    let error = processor.shutdown(Duration::from_millis(300)).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(20));
    assert_eq!(error.kind(), ErrorKind::Deadline, "{error}");
    let account = assert_adds_up(&stats, &server, 3);
    assert_eq!(account.dropped.shutdown, 3);
}

#[test]
fn a_call_ends_with_its_timeout_and_is_tried_again() {
    let server = GrpcServer::start([Step::Hang]);
    let stats = Stats::new();
    let exporter = exporter(&server).with_timeout(Duration::from_secs(2)).build().unwrap();
    let processor = processor(&stats).with_exporter(exporter).build().unwrap();
    processor.on_profile(profile(1));
    processor.force_flush(PATIENCE).unwrap();
    let account = assert_adds_up(&stats, &server, 1);
    assert_eq!((account.exported, account.retries), (1, 1));
}

#[test]
fn a_dead_destination_delays_no_other_and_holds_no_more_than_its_queue() {
    let (dead, live) = (GrpcServer::start(vec![Step::Hang; 100]), GrpcServer::start([]));
    let stats = Stats::new();
    let processor = processor(&stats)
        .with_max_queue_size(4)
        .with_exporter(exporter(&dead).with_timeout(Duration::from_secs(3600)).build().unwrap())
        .with_exporter(exporter(&live).build().unwrap())
        .build()
        .unwrap();
    for number in 0..50 {
        processor.on_profile(profile(number));
        wait_until("the other delivery", || account(&stats, 1).exported == number + 1);
    }
    assert_eq!((live.taken(), dead.taken()), (50, 0), "the dead one still hangs");
    let hanging = account(&stats, 0);
    assert!(hanging.waiting() <= 5, "the queue and one batch: {hanging:?}");
    assert_eq!(hanging.dropped.queue_full, 50 - hanging.waiting());
    let error = processor.shutdown(Duration::from_millis(300)).unwrap_err();
    assert!(error.to_string().contains(&dead.url()) && !error.to_string().contains(&live.url()), "{error}");
    assert_adds_up(&stats, &dead, 50);
}

#[test]
fn malformed_settings_fail_to_build_with_one_clear_error() {
    let builder = || OtlpGrpcExporter::builder().with_settings(OtlpSettings::default());
    for (built, words) in [
        (builder().with_endpoint("http://host/path").build(), "has a path"),
        (builder().with_endpoint("http://").build(), "no valid host"),
        (builder().with_endpoint("ftp://host").build(), "is not a URL"),
        (builder().with_endpoint("http://user:s3cret@localhost").build(), "credentials"),
        (builder().with_header("no name", "s3cret").build(), "not a header name"),
        (builder().with_header("x", "s3cret\r\ny: z").build(), "not printable"),
        (builder().with_header("x-bin", "s3cret").build(), "binary"),
        (builder().with_header("grpc-timeout", "s3cret").build(), "by the exporter itself"),
        (builder().with_timeout(Duration::ZERO).build(), "no time"),
        (builder().with_ca_certificate("/nowhere").build(), "/nowhere"),
        (builder().with_client_certificate("/nowhere", "/no key").build(), "/no key"),
    ] {
        let error = built.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let text = format!("{error} {error:?}");
        assert!(text.contains(words) && !text.contains("s3cret"), "{text}");
    }
}

/// A server that repeats a header wherever it has a chance to.
#[test]
fn header_values_are_in_requests_only() {
    const SECRET: &str = "t0ken-123456";
    for step in [
        Step::Refuse(16, vec![("grpc-message", format!("bad%20{SECRET}"))]),
        Step::Refuse(14, vec![("grpc-message", SECRET.to_owned())]),
        Step::TakePartly(1, SECRET),
        Step::TakePartly(0, SECRET),
    ] {
        let server = GrpcServer::start([step]);
        let exporter = exporter(&server).with_header("Authorization", format!("Bearer {SECRET}"));
        let mut shown = format!("{exporter:?}");
        let exporter = exporter.build().unwrap();
        shown.push_str(&format!("{exporter:?}"));
        let stats = Stats::new();
        let processor = processor(&stats).with_exporter(exporter).build().unwrap();
        processor.on_profile(profile(1));
        let result = processor.shutdown(PATIENCE);
        shown.push_str(&format!("{result:?} {processor:?} {:?}", stats.snapshot()));
        assert!(!shown.contains(SECRET) && shown.contains("Authorization"), "{shown}");
        assert_eq!(server.requests()[0].header("authorization"), [format!("Bearer {SECRET}")]);
    }
}
