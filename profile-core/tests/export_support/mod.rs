//! What the export tests share: profiles, a scripted HTTP server on a real socket, and the account that must add up.
#![allow(dead_code, unreachable_pub)] // Each test binary uses a part.
#![allow(clippy::unwrap_used)] // In tests, but outside of test functions.

use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::profiles::v1development::Profile as WireProfile;
use profile_core::collector::{
    ContextIndex, Frame, SampleContext, Stack, StackEnd, StackIndex, Window, WindowSample,
};
use profile_core::export::{BatchProfileProcessor, BatchProfileProcessorBuilder, RetryPolicy};
use profile_core::modules::Module;
use profile_core::profile::{Profile, SpanScope};
use profile_core::resource::{Resource, Value};
use profile_core::stats::{ExporterSnapshot, Stats};
use profile_core::symbolize::{SourceFrame, SymbolSource, Symbolizer};
use prost::Message;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

#[path = "../../../tests/src/conformance/mod.rs"]
pub mod conformance;
#[cfg(feature = "otlp-http")]
pub mod http;
mod payloads;

pub use payloads::Payloads;

/// Far longer than anything takes that works, and far shorter than a test runner's patience.
pub const PATIENCE: Duration = Duration::from_secs(60);

const FIRST_START: u64 = 1_700_000_000_000_000_000;
const WINDOW: Duration = Duration::from_secs(10);

struct NoSymbols;

impl Symbolizer for NoSymbols {
    fn symbolize(&mut self, _: &Arc<Module>, _: u64) -> &[SourceFrame] {
        &[]
    }

    fn source(&self, _: &Module) -> SymbolSource {
        SymbolSource::AddressOnly
    }
}

/// The profile of window number `number`, of weight `number` + 1.
pub fn profile(number: u64) -> Arc<Profile> {
    profile_of(number, &[number + 1])
}

/// The profile of window number `number` with a sample of each of these weights.
pub fn profile_of(number: u64, weights: &[u64]) -> Arc<Profile> {
    let indices = 0..u32::try_from(weights.len()).unwrap();
    let stack = |index: u32| {
        let frame = Frame { module: None, address: 0x1000 + number + u64::from(index) };
        Stack { frames: Box::new([frame]), end: StackEnd::Complete }
    };
    let sample = |(index, weight): (u32, &u64)| WindowSample {
        stack: StackIndex(index),
        context: ContextIndex(0),
        weight: *weight,
    };
    let window = Window {
        start_unix_nanos: FIRST_START + number * WINDOW.as_nanos() as u64,
        duration: WINDOW,
        period_nanos: 10_101_010,
        stacks: indices.clone().map(stack).collect(),
        contexts: vec![SampleContext::default()],
        samples: indices.zip(weights).map(sample).collect(),
        losses: Vec::new(),
    };
    Arc::new(Profile::from_window(&window, &mut NoSymbols, SpanScope::default()))
}

/// Which window it is that began then.
pub fn number(start_unix_nanos: u64) -> u64 {
    (start_unix_nanos - FIRST_START) / WINDOW.as_nanos() as u64
}

pub fn resource() -> Resource {
    let mut resource = Resource::empty();
    resource.set("service.name", Value::String("export-test".to_owned()));
    resource
}

/// A processor that does not make a test wait: batches of one, and short backoffs.
pub fn processor(stats: &Arc<Stats>) -> BatchProfileProcessorBuilder {
    let retry = RetryPolicy::default()
        .with_initial_interval(Duration::from_millis(20))
        .with_max_interval(Duration::from_millis(50));
    BatchProfileProcessor::builder()
        .with_resource(resource())
        .with_stats(Arc::clone(stats))
        .with_batch_size(1)
        .with_retry_policy(retry)
}

/// The counters of exporter `index`.
pub fn account(stats: &Stats, index: usize) -> ExporterSnapshot {
    stats.snapshot().exporters[index].clone()
}

/// Everything given is delivered or dropped, and what counts as delivered is what the server took.
pub fn assert_adds_up(stats: &Stats, server: &Server, given: u64) -> ExporterSnapshot {
    let account = account(stats, 0);
    assert_eq!(account.given, given, "{account:?}");
    assert_eq!(account.exported + account.dropped.total(), given, "{account:?}");
    assert_eq!(account.exported, server.taken(), "{account:?}");
    account
}

pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "{what} did not happen");
        thread::sleep(Duration::from_millis(2));
    }
}

/// What the server does with one request. When the script is over, it takes what comes.
#[derive(Clone, Debug)]
pub enum Step {
    /// Takes it: 200 with an empty body.
    Take,
    /// Takes it after so long.
    TakeAfter(Duration),
    /// Takes it but for so many profiles, and says why.
    TakePartly(i64, &'static str),
    /// Takes it, and answers with this type and body.
    TakeWith(&'static str, Vec<u8>),
    /// Takes it, and answers with as many bytes as the client has patience for, or [`POURED_AT_MOST`].
    TakeAndPour,
    /// Takes it, but closes the connection in the middle of its answer.
    TakeAndCutAnswer,
    /// Takes it, and says nothing until the server goes away.
    TakeAndHang,
    /// Answers with this status, these header lines and this body.
    Refuse(u16, &'static str, Vec<u8>),
    /// Refuses with 413 what has more than so many samples, and takes the rest, for all requests from here on.
    RefuseAbove(usize),
    /// Reads the head of the request, a little of the body, and closes the connection.
    CutRequest,
    /// Reads the request, and closes the connection without an answer.
    CutAnswer,
    /// Reads the request and says nothing until the server goes away.
    Hang,
    /// Answers in another protocol.
    Babble,
}

/// Far more than fits into the buffers of two sockets.
pub const POURED_AT_MOST: usize = 256 << 20;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    pub head: String,
    pub body: Vec<u8>,
    pub at: Instant,
}

/// A server on a port of its own; ends when it is dropped.
pub struct Server {
    shared: Arc<Shared>,
    port: u16,
}

struct Shared {
    state: Mutex<State>,
    closing: Condvar,
    payloads: Payloads,
}

#[derive(Default)]
struct State {
    script: VecDeque<Step>,
    requests: Vec<Request>,
    connections: usize,
    taken: u64,
    /// The starts and weights of the profiles that were taken whole.
    taken_profiles: Vec<(u64, i64)>,
    poured: usize,
    closed: bool,
}

impl Request {
    /// The values of header `name`.
    pub fn header(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    /// The body without its compression.
    pub fn content(&self) -> Vec<u8> {
        if self.header("content-encoding") != ["gzip"] {
            return self.body.clone();
        }
        let mut content = Vec::new();
        flate2::read::GzDecoder::new(self.body.as_slice()).read_to_end(&mut content).unwrap();
        content
    }

    /// The windows of the request's profiles.
    pub fn windows(&self) -> Vec<u64> {
        self.profiles().iter().map(|profile| number(profile.time_unix_nano)).collect()
    }

    /// The weights of all samples of the request's profiles.
    pub fn weights(&self) -> Vec<i64> {
        self.profiles()
            .iter()
            .flat_map(|profile| &profile.samples)
            .flat_map(|sample| sample.values.clone())
            .collect()
    }

    /// The starts and weights of the request's profiles.
    pub fn starts_and_weights(&self) -> Vec<(u64, i64)> {
        if self.header("content-type") == ["application/json"] {
            return self.starts_and_weights_of_json();
        }
        let weight = |profile: &WireProfile| profile.samples.iter().flat_map(|sample| &sample.values).sum();
        self.profiles().iter().map(|profile| (profile.time_unix_nano, weight(profile))).collect()
    }

    fn starts_and_weights_of_json(&self) -> Vec<(u64, i64)> {
        use serde_json::Value;
        fn list<'a>(json: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
            json[name].as_array().into_iter().flatten()
        }
        fn number<T: std::str::FromStr<Err: std::fmt::Debug>>(json: &Value) -> T {
            json.as_str().unwrap().parse().unwrap()
        }
        let request: Value = serde_json::from_slice(&self.content()).unwrap();
        let scopes = list(&request, "resourceProfiles").flat_map(|resource| list(resource, "scopeProfiles"));
        let profiles = scopes.flat_map(|scope| list(scope, "profiles"));
        let weight = |profile| {
            let values = list(profile, "samples").flat_map(|sample| list(sample, "values"));
            values.map(number::<i64>).sum()
        };
        profiles.map(|profile| (number(&profile["timeUnixNano"]), weight(profile))).collect()
    }

    /// The request's profiles, as an independent decoder reads them.
    fn profiles(&self) -> Vec<WireProfile> {
        let request = ExportProfilesServiceRequest::decode(self.content().as_slice()).unwrap();
        let scopes = request.resource_profiles.into_iter().flat_map(|resource| resource.scope_profiles);
        scopes.flat_map(|scope| scope.profiles).collect()
    }
}

/// A connection that the server has accepted.
pub trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

impl Server {
    pub fn start(script: impl IntoIterator<Item = Step>) -> Self {
        Self::start_over(script, |stream| Some(Box::new(stream)))
    }

    /// A server that speaks over what `wrap` makes of each connection.
    pub fn start_over(
        script: impl IntoIterator<Item = Step>,
        wrap: impl Fn(TcpStream) -> Option<Box<dyn Stream>> + Send + Sync + 'static,
    ) -> Self {
        let wrap = Arc::new(wrap);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Mutex::new(State { script: script.into_iter().collect(), ..State::default() });
        let shared = Arc::new(Shared { state, closing: Condvar::new(), payloads: Payloads::default() });
        let for_thread = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&for_thread);
                if shared.lock().closed {
                    return;
                }
                shared.lock().connections += 1;
                let (stream, wrap) = (stream.unwrap(), Arc::clone(&wrap));
                thread::spawn(move || {
                    let raw = stream.try_clone().unwrap();
                    if let Some(wrapped) = wrap(stream) {
                        shared.serve(wrapped);
                    }
                    drop(raw.shutdown(Shutdown::Both));
                });
            }
        });
        Self { shared, port }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether its script is over.
    pub fn script_is_over(&self) -> bool {
        self.shared.lock().script.is_empty()
    }

    /// The starts and weights of the profiles that it has taken whole.
    pub fn taken_profiles(&self) -> Vec<(u64, i64)> {
        self.shared.lock().taken_profiles.clone()
    }

    pub fn requests(&self) -> Vec<Request> {
        self.shared.lock().requests.clone()
    }

    pub fn connections(&self) -> usize {
        self.shared.lock().connections
    }

    /// How many bytes of [`Step::TakeAndPour`] found room.
    pub fn poured(&self) -> usize {
        self.shared.lock().poured
    }

    /// How many profiles it has taken.
    pub fn taken(&self) -> u64 {
        self.shared.lock().taken
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.closing.notify_all();
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        self.shared.payloads.assert_conform();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Serves the requests of one connection; an error ends it.
    fn serve(&self, stream: Box<dyn Stream>) {
        let mut reader = BufReader::new(stream);
        while let Some(step) = self.serve_one(&mut reader) {
            if matches!(step, Step::CutRequest | Step::CutAnswer | Step::TakeAndCutAnswer | Step::Babble) {
                break;
            }
        }
    }

    fn serve_one(&self, reader: &mut BufReader<Box<dyn Stream>>) -> Option<Step> {
        let head = read_head(reader)?;
        let step = self.lock().script.pop_front().unwrap_or(Step::Take);
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().unwrap())
        });
        let read = if matches!(step, Step::CutRequest) { 1 } else { length.unwrap_or(0) };
        let mut body = vec![0; read];
        reader.read_exact(&mut body).ok()?;
        let request = Request { head, body, at: Instant::now() };
        if request.body.len() == length.unwrap_or(0) {
            self.payloads.check(&request);
        }
        let answer = self.answer(&step, &request);
        self.lock().requests.push(request);
        let stream = reader.get_mut();
        stream.write_all(&answer).and_then(|()| stream.flush()).ok()?;
        if matches!(step, Step::TakeAndPour) {
            while self.lock().poured < POURED_AT_MOST {
                stream.write_all(&[0; 1 << 16]).ok()?;
                self.lock().poured += 1 << 16;
            }
        }
        Some(step)
    }

    fn answer(&self, step: &Step, request: &Request) -> Vec<u8> {
        let take = |rejected: i64| {
            // A request of another protocol than OTLP has one profile, which its own tests look at.
            let is_otlp = !request.head.starts_with("POST /push.v1.");
            let profiles = if is_otlp { request.starts_and_weights() } else { vec![(0, 0)] };
            let mut state = self.lock();
            state.taken += (profiles.len() as u64).saturating_sub(rejected.max(0) as u64);
            if rejected == 0 {
                state.taken_profiles.extend(profiles);
            }
        };
        match step {
            Step::Take => {
                take(0);
                answer(200, "content-type: application/x-protobuf\r\n", b"")
            }
            Step::TakeAfter(delay) => {
                thread::sleep(*delay);
                take(0);
                answer(200, "content-type: application/x-protobuf\r\n", b"")
            }
            Step::TakePartly(rejected, why) => {
                take(*rejected);
                answer(200, "content-type: application/x-protobuf\r\n", &partial_success(*rejected, why))
            }
            Step::TakeWith(content_type, body) => {
                take(0);
                answer(200, &format!("content-type: {content_type}\r\n"), body)
            }
            Step::TakeAndPour => {
                take(0);
                let length = format!("content-length: {POURED_AT_MOST}\r\n");
                let head = answer(200, &format!("content-type: application/x-protobuf\r\n{length}"), b"");
                String::from_utf8(head).unwrap().replace("content-length: 0\r\n", "").into_bytes()
            }
            Step::TakeAndCutAnswer => {
                take(0);
                b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 99\r\n\r\n\n"
                    .to_vec()
            }
            Step::Refuse(status, headers, body) => answer(*status, headers, body),
            Step::RefuseAbove(limit) => {
                self.lock().script.push_front(step.clone());
                if request.weights().len() > *limit {
                    return answer(413, "", b"");
                }
                take(0);
                answer(200, "", b"")
            }
            Step::CutRequest | Step::CutAnswer => Vec::new(),
            Step::Hang | Step::TakeAndHang => {
                if matches!(step, Step::TakeAndHang) {
                    take(0);
                }
                let state = self.lock();
                drop(self.closing.wait_while(state, |state| !state.closed).unwrap());
                Vec::new()
            }
            Step::Babble => b"220 mail.example ESMTP\r\n\r\n".to_vec(),
        }
    }
}

fn read_head(reader: &mut impl BufRead) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

fn answer(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status} Whatever\r\n{headers}content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// An `ExportProfilesServiceResponse`, as the crate of the OpenTelemetry project writes it.
fn partial_success(rejected: i64, why: &str) -> Vec<u8> {
    use opentelemetry_proto::tonic::collector::profiles::v1development as service;
    let partial =
        service::ExportProfilesPartialSuccess { rejected_profiles: rejected, error_message: why.to_owned() };
    service::ExportProfilesServiceResponse { partial_success: Some(partial) }.encode_to_vec()
}
