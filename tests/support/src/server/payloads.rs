//! Everything that a scripted server is sent is held against the rules of OTLP's receivers, so that no test can forget it.

use super::Request;
use crate::conformance::check_body;
use std::sync::Mutex;
use std::thread;

/// What the receivers of OTLP take at most, and what is sent never exceeds, compressed or not.
const MAX_BODY: usize = 4 << 20;

/// What was found wrong with the payloads that came.
#[derive(Debug, Default)]
pub struct Payloads(Mutex<Vec<String>>);

impl Payloads {
    /// Checks a request that came whole.
    pub fn check(&self, request: &Request) {
        if request.head.starts_with("POST /push.v1.") {
            return; // pprof in Pyroscope's own protocol, which its own tests look at
        }
        if !request.head.starts_with("POST ") {
            return; // not HTTP/1.1: the preface and the frames of a gRPC client
        }
        let mut found = Vec::new();
        if request.body.len() > MAX_BODY {
            found.push(format!("a body of {} bytes", request.body.len()));
        }
        match (&request.header("content-encoding")[..], &request.header("content-type")[..]) {
            ([] | ["gzip"], [content_type]) => {
                let violations = check_body(content_type, &request.content());
                found.extend(violations.iter().map(ToString::to_string));
            }
            other => found.push(format!("not checked: encoding and type are {other:?}")),
        }
        self.0.lock().unwrap().extend(found);
    }

    /// Fails with all that was found; called when the server ends, by the test that has it.
    pub fn assert_conform(&self) {
        let found = self.0.lock().unwrap();
        if !thread::panicking() {
            assert!(found.is_empty(), "the server was sent what receivers refuse:\n{}", found.join("\n"));
        }
    }
}
