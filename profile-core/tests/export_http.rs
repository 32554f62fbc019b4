//! OTLP/HTTP against a scripted server on a real socket: what is sent, and what becomes of it whatever the server does.
#![cfg(feature = "otlp-http")]
#![allow(clippy::unwrap_used, clippy::panic)] // In helpers too, which clippy does not take for tests.

mod export_support;

use export_support::http::{exporter, run_one};
use export_support::{
    PATIENCE, Server, Step, account, assert_adds_up, processor, profile, profile_of, resource, wait_until,
    windows_of,
};
use profile_core::error::ErrorKind;
use profile_core::export::{Compression, OtlpHttpExporter, OtlpSettings, ProfileProcessor};
use profile_core::profile::ProfileBatch;
use profile_core::stats::Stats;
use profile_test_support::server::POURED_AT_MOST;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[test]
fn what_arrives_is_what_was_sent() {
    for compression in [Compression::None, Compression::Gzip] {
        let server = Server::start([]);
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
        // Full, the batch is sent at once, though its timeout is far away.
        wait_until("a full batch", || account(&stats, 0).exported == 3);

        let [request] = <[_; 1]>::try_from(server.requests()).unwrap();
        let batch = ProfileBatch::new(Arc::new(resource()), profiles.clone());
        assert_eq!(request.content(), batch.to_otlp());
        assert_eq!(windows_of(&request), [0, 1, 2]);
        assert!(request.head.starts_with("POST /v1development/profiles HTTP/1.1\r\n"), "{}", request.head);
        assert_eq!(request.header("content-type"), ["application/x-protobuf"]);
        let encoding: &[_] = if compression == Compression::Gzip { &["gzip"] } else { &[] };
        assert_eq!(request.header("content-encoding"), encoding);
        assert_eq!(request.header("x-scope-orgid"), ["tenant"]);
        assert!(request.header("user-agent")[0].starts_with("OTel-OTLP-Exporter-Rust-profiles/"));

        processor.shutdown(PATIENCE).unwrap();
        let account = assert_adds_up(&stats, &server, 3);
        assert_eq!((account.batches, account.bytes_sent, account.retries), (1, request.body.len() as u64, 0));
    }
}

#[test]
fn headers_and_queries_of_any_length_arrive_with_every_request() {
    let server = Server::start([Step::Refuse(503, "", Vec::new())]);
    let stats = Stats::new();
    let long = "x".repeat(50_000);
    let exporter = exporter(&server).with_profiles_endpoint(format!("{}/a/b?key=value&c", server.url()));
    let exporter = exporter.with_header("X-Long", &long).with_header("User-Agent", "mine").build().unwrap();
    let processor = processor(&stats).with_exporter(exporter).build().unwrap();
    processor.on_profile(profile_of(0, &[1; 2000]));
    processor.shutdown(PATIENCE).unwrap();
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    for request in requests {
        assert!(request.head.starts_with("POST /a/b?key=value&c HTTP/1.1\r\n"), "{:.99}", request.head);
        assert_eq!((request.header("x-long"), request.header("user-agent")), (vec![&*long], vec!["mine"]));
        assert_eq!(request.weights(), [1; 2000]);
        assert!(!request.head.to_lowercase().contains("x-profile"), "what stands for the headers does not");
    }
}

#[test]
fn a_connection_is_used_again() {
    let server = Server::start([]);
    let stats = Stats::new();
    let processor = processor(&stats).with_exporter(exporter(&server).build().unwrap()).build().unwrap();
    for number in 0..5 {
        processor.on_profile(profile(number));
        processor.force_flush(PATIENCE).unwrap();
    }
    assert_eq!((server.taken(), server.connections()), (5, 1));
}

#[test]
fn a_slow_server_is_waited_for() {
    let (account, _) = run_one([Step::TakeAfter(Duration::from_millis(700))]);
    assert_eq!((account.exported, account.retries), (1, 0));
}

#[test]
fn retryable_statuses_are_tried_again() {
    for status in [429, 502, 503, 504] {
        let (account, server) = run_one([Step::Refuse(status, "", Vec::new())]);
        assert_eq!((account.exported, account.retries, server.requests().len()), (1, 1, 2), "{status}");
    }
}

#[test]
fn other_statuses_are_not_tried_again() {
    for status in [301, 307, 400, 401, 404, 408, 413, 415, 500, 501, 505] {
        let (account, server) = run_one([Step::Refuse(status, "location: /\r\n", Vec::new())]);
        assert_eq!((account.dropped.rejected, account.retries), (1, 0), "{status}");
        assert_eq!(server.requests().len(), 1, "{status}");
    }
}

#[test]
fn a_redirect_takes_neither_profiles_nor_headers_to_another_server() {
    let other = Server::start([]);
    let location: &'static str = Box::leak(format!("location: {}\r\n", other.url()).into_boxed_str());
    for status in [301, 302, 303, 307, 308] {
        let (account, _) = run_one([Step::Refuse(status, location, Vec::new())]);
        assert_eq!(account.dropped.rejected, 1, "{status}");
    }
    assert_eq!(other.connections(), 0);
}

#[test]
fn retry_after_is_obeyed() {
    for status in [429, 503] {
        let (account, server) = run_one([Step::Refuse(status, "retry-after: 1\r\n", Vec::new())]);
        assert_eq!((account.exported, account.retries), (1, 1));
        let [first, second] = <[_; 2]>::try_from(server.requests()).unwrap();
        assert!(second.at - first.at >= Duration::from_secs(1), "{:?}", second.at - first.at);
    }
}

#[test]
fn a_retry_after_beyond_the_deadline_is_not_waited_for() {
    let server = Server::start([Step::Refuse(429, "retry-after: 3600\r\n", Vec::new())]);
    let stats = Stats::new();
    let processor = processor(&stats).with_exporter(exporter(&server).build().unwrap()).build().unwrap();
    processor.on_profile(profile(1));
    let start = Instant::now();
    let error = processor.shutdown(PATIENCE).unwrap_err();
    assert!(start.elapsed() < PATIENCE / 2, "given up at once, and not at the deadline");
    assert_eq!(error.kind(), ErrorKind::Export);
    assert!(error.to_string().contains("429"), "{error}");
    assert_adds_up(&stats, &server, 1);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn what_is_too_large_is_sent_in_halves() {
    let server = Server::start([Step::RefuseAbove(1)]);
    let stats = Stats::new();
    let processor = processor(&stats)
        .with_batch_size(5)
        .with_batch_timeout(PATIENCE)
        .with_exporter(exporter(&server).build().unwrap())
        .build()
        .unwrap();
    (0..5).for_each(|number| processor.on_profile(profile(number)));
    processor.shutdown(PATIENCE).unwrap();
    let account = assert_adds_up(&stats, &server, 5);
    assert_eq!((account.exported, account.batches), (5, 5));
    let requests: Vec<_> = server.requests().iter().map(windows_of).collect();
    let taken: Vec<_> = requests.into_iter().filter(|windows| windows.len() == 1).flatten().collect();
    assert_eq!(taken, [0, 1, 2, 3, 4], "in order, and each once");
}

#[test]
fn a_profile_too_large_is_sent_in_parts_that_count_as_profiles() {
    let server = Server::start([Step::RefuseAbove(3)]);
    let stats = Stats::new();
    let processor = processor(&stats).with_exporter(exporter(&server).build().unwrap()).build().unwrap();
    let weights: Vec<u64> = (1..=16).collect();
    processor.on_profile(profile_of(0, &weights));
    processor.shutdown(PATIENCE).unwrap();

    let requests = server.requests();
    let taken: Vec<_> = requests.iter().filter(|request| request.weights().len() <= 3).collect();
    let mut delivered: Vec<_> = taken.iter().flat_map(|request| request.weights()).collect();
    delivered.sort_unstable();
    assert_eq!(delivered, (1..=16).collect::<Vec<i64>>(), "every sample, and each once");
    assert!(taken.iter().all(|request| windows_of(request) == [0]), "each part has the window's time");
    assert_adds_up(&stats, &server, taken.len() as u64);
}

#[test]
fn a_destination_that_finds_everything_too_large_is_not_asked_for_ever() {
    let server = Server::start([Step::RefuseAbove(0)]);
    let stats = Stats::new();
    let processor = processor(&stats).with_exporter(exporter(&server).build().unwrap()).build().unwrap();
    processor.on_profile(profile_of(0, &[1; 1000]));
    processor.shutdown(PATIENCE).unwrap_err();
    let account = account(&stats, 0);
    assert_eq!((account.exported, account.dropped.rejected, account.waiting()), (0, account.given, 0));
    let requests = server.requests().len();
    assert!((64..=127).contains(&requests), "halved six times at most: {requests}");
}

#[test]
fn a_partial_success_is_counted_and_not_tried_again() {
    let server = Server::start([Step::TakePartly(2, "too old")]);
    let stats = Stats::new();
    let processor = processor(&stats)
        .with_batch_size(3)
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
fn a_partial_success_that_cannot_be_is_counted_as_far_as_it_can() {
    let (account, _) = run_one([Step::TakePartly(i64::MIN, "")]);
    assert_eq!(account.exported, 1);
    let (account, _) = run_one([Step::TakePartly(i64::MAX, "")]);
    assert_eq!(account.dropped.rejected, 1);
}

#[test]
fn a_connection_that_is_cut_is_tried_again() {
    for step in [Step::CutRequest, Step::CutAnswer] {
        let (account, server) = run_one([step.clone()]);
        assert_eq!((account.exported, account.retries, server.requests().len()), (1, 1, 2), "{step:?}");
    }
}

#[test]
fn an_answer_that_makes_no_sense_does_not_undo_a_delivery() {
    let oversized = Step::TakeWith("application/x-protobuf", vec![b'x'; 1 << 20]);
    let malformed = Step::TakeWith("application/x-protobuf", vec![0xff; 100]);
    let html = Step::TakeWith("text/html", b"<html>".to_vec());
    for step in [oversized, malformed, html, Step::TakeAndCutAnswer] {
        let (account, server) = run_one([step]);
        assert_eq!((account.exported, account.retries, server.requests().len()), (1, 0, 1));
    }
}

#[test]
fn an_answer_without_end_is_not_read_to_its_end() {
    let (account, server) = run_one([Step::TakeAndPour]);
    assert_eq!((account.exported, account.retries), (1, 0));
    assert!(server.poured() < POURED_AT_MOST / 2, "{}", server.poured());
}

#[test]
fn a_server_of_another_protocol_is_a_refusal() {
    let (account, server) = run_one([Step::Babble]);
    assert_eq!((account.dropped.rejected, server.requests().len()), (1, 1));
}

#[test]
fn shutdown_holds_its_deadline_when_nobody_listens() {
    // A port that belongs to the near end of a connection: nobody listens there, and nobody else can get it meanwhile.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connection = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let port = connection.local_addr().unwrap().port();
    let exporter = OtlpHttpExporter::builder()
        .with_settings(OtlpSettings::default())
        .with_endpoint(format!("http://127.0.0.1:{port}"));
    let stats = Stats::new();
    let processor = processor(&stats).with_exporter(exporter.build().unwrap()).build().unwrap();
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
    let server = Server::start([Step::Hang]);
    let stats = Stats::new();
    let exporter = exporter(&server).with_timeout(Duration::from_secs(3600)).build().unwrap();
    let processor = processor(&stats).with_exporter(exporter).build().unwrap();
    (0..3).for_each(|number| processor.on_profile(profile(number)));
    wait_until("the request", || server.connections() == 1);
    let start = Instant::now();
    let error = processor.shutdown(Duration::from_millis(300)).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(20));
    assert_eq!(error.kind(), ErrorKind::Deadline, "{error}");
    let account = assert_adds_up(&stats, &server, 3);
    assert_eq!(account.dropped.shutdown, 3);
    processor.shutdown(PATIENCE).unwrap();
}

#[test]
fn a_request_ends_with_its_timeout_and_is_tried_again() {
    let server = Server::start([Step::Hang]);
    let stats = Stats::new();
    let exporter = exporter(&server).with_timeout(Duration::from_secs(2)).build().unwrap();
    let processor = processor(&stats).with_exporter(exporter).build().unwrap();
    processor.on_profile(profile(1));
    processor.force_flush(PATIENCE).unwrap();
    let account = assert_adds_up(&stats, &server, 1);
    assert_eq!((account.exported, account.retries), (1, 1));
}

#[test]
fn a_dead_destination_delays_no_other() {
    let (dead, live) = (Server::start(vec![Step::Hang; 100]), Server::start([]));
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
    assert_eq!(error.kind(), ErrorKind::Deadline);
    assert!(error.to_string().contains(&dead.url()) && !error.to_string().contains(&live.url()), "{error}");
    assert_adds_up(&stats, &dead, 50);
}

#[test]
fn malformed_settings_fail_to_build_with_one_clear_error() {
    let builder = || OtlpHttpExporter::builder().with_settings(OtlpSettings::default());
    for (built, words) in [
        (builder().with_endpoint("localhost:4318").build(), "\"localhost:4318\" is not a URL"),
        (builder().with_profiles_endpoint("http://").build(), "no valid host"),
        (builder().with_endpoint("http://user:s3cret@localhost").build(), "credentials"),
        (builder().with_header("no name", "s3cret").build(), "not a header name"),
        (builder().with_header("x", "s3cret\r\ny: z").build(), "not printable"),
        (builder().with_header("Content-Type", "s3cret").build(), "by the exporter itself"),
        (builder().with_timeout(Duration::ZERO).build(), "no time"),
    ] {
        let error = built.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let text = format!("{error} {error:?}");
        assert!(text.contains(words) && !text.contains("s3cret"), "{text}");
    }
    #[cfg(not(feature = "tls"))]
    {
        let error = builder().with_endpoint("https://localhost:4318").build().unwrap_err();
        assert!(error.to_string().contains("enable the feature tls"), "{error}");
    }
}
