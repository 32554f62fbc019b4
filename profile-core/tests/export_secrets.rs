//! Header values appear nowhere but in requests. The only test of its process, since it redirects all messages.
#![cfg(feature = "otlp-http")]
#![allow(clippy::unwrap_used, clippy::panic)] // In helpers too, which clippy does not take for tests.

mod export_support;

use export_support::http::exporter;
use export_support::{PATIENCE, Server, Step, processor, profile};
use profile_core::diag::{Level, set_sink};
use profile_core::export::ProfileProcessor;
use profile_core::stats::Stats;
use std::sync::Mutex;

static MESSAGES: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn keep(level: Level, message: &str) {
    MESSAGES.lock().unwrap().push(format!("{level:?} {message}"));
}

#[test]
fn header_values_are_in_requests_only() {
    // With characters that a debug format escapes: an escaped secret is a secret all the same.
    const UNMISTAKABLE: &str = "123456";
    const SECRET: &str = "t0ken-\\\"123456";
    const VALUE: &str = "Bearer t0ken-\\\"123456";
    let text = "content-type: text/plain\r\n";
    // A server that repeats the header wherever it has a chance to.
    for step in [
        Step::Refuse(401, text, format!("bad credentials {VALUE}").into_bytes()),
        Step::Refuse(503, text, format!("{SECRET}, try later").into_bytes()),
        Step::Refuse(
            400,
            "content-type: application/x-protobuf\r\n",
            [b"\x12\x10", SECRET.as_bytes()].concat(),
        ),
        Step::TakePartly(1, VALUE),
        Step::TakePartly(0, VALUE),
        Step::TakeWith(SECRET, b"x".to_vec()),
        Step::Refuse(302, "location: http://elsewhere/t0ken-\\\"123456?key=123456\r\n", Vec::new()),
    ] {
        let server = Server::start([step]);
        let exporter = exporter(&server).with_header("Authorization", VALUE);
        let mut shown = format!("{exporter:?}");
        let exporter = exporter.build().unwrap();
        shown.push_str(&format!("{exporter:?}"));
        set_sink(keep);
        let stats = Stats::new();
        let processor = processor(&stats).with_exporter(exporter).build().unwrap();
        processor.on_profile(profile(1));
        let result = processor.shutdown(PATIENCE);
        shown.push_str(&format!("{result:?} {processor:?} {:?}", stats.snapshot()));
        assert!(!shown.contains(UNMISTAKABLE) && shown.contains("Authorization"), "{shown}");
        assert_eq!(server.requests()[0].header("authorization"), [VALUE]);
    }
    let messages = MESSAGES.lock().unwrap();
    assert!(
        messages.len() >= 7 && messages.iter().all(|message| message.starts_with("Warn ")),
        "{messages:#?}"
    );
    assert!(messages.iter().any(|message| message.contains("***, try later")), "{messages:#?}");
    assert!(!messages.iter().any(|message| message.contains(UNMISTAKABLE)), "{messages:#?}");
}
