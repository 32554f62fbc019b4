//! A scripted HTTP server on a real socket.

mod payloads;
mod record;
mod request;
mod step;

pub use payloads::Payloads;
pub use record::Record;
pub use request::Request;
pub use step::{POURED_AT_MOST, Step};

use prost::Message as _;
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Instant;

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

struct State {
    record: Record<Step>,
    poured: usize,
    closed: bool,
}

/// A connection that the server has accepted.
pub trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

impl Server {
    /// A server that follows `script`, and takes what comes when it is over.
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
        let state = Mutex::new(State { record: Record::new(script), poured: 0, closed: false });
        let shared = Arc::new(Shared { state, closing: Condvar::new(), payloads: Payloads::default() });
        let for_thread = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&for_thread);
                if shared.lock().closed {
                    return;
                }
                shared.lock().record.connections += 1;
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

    /// Where it is, without a path.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its port on loopback.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether its script is over.
    #[must_use]
    pub fn script_is_over(&self) -> bool {
        self.shared.lock().record.script.is_empty()
    }

    /// The starts and weights of the profiles that it has taken whole.
    #[must_use]
    pub fn taken_profiles(&self) -> Vec<(u64, i64)> {
        self.shared.lock().record.taken_profiles.clone()
    }

    /// All requests that came so far, those that were refused too.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.shared.lock().record.requests.clone()
    }

    /// How many connections there were.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.lock().record.connections
    }

    /// How many bytes of [`Step::TakeAndPour`] found room.
    #[must_use]
    pub fn poured(&self) -> usize {
        self.shared.lock().poured
    }

    /// How many profiles it has taken.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.shared.lock().record.taken
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("port", &self.port).finish_non_exhaustive()
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
        let step = self.lock().record.script.pop_front().unwrap_or(Step::Take);
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
        self.lock().record.requests.push(request);
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
        let take = |rejected: i64| self.lock().record.take(request, rejected);
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
                self.lock().record.script.push_front(step.clone());
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
