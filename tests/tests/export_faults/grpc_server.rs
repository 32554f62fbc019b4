//! A scripted OTLP/gRPC server on a real socket, at the level of HTTP/2 frames: what a gRPC library would not let a
//! server do is here as well.

use super::export_support::{Payloads, Record, Request};
use h2::server::{Connection, SendResponse, handshake};
use http::{HeaderMap, HeaderValue, Response};
use opentelemetry_proto::tonic::collector::profiles::v1development as service;
use prost::Message as _;
use prost::bytes::Bytes;
use std::fmt::Write as _;
use std::io::Read as _;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio_rustls::TlsAcceptor;

/// What the server does with one call. When the script is over, it takes what comes.
#[derive(Clone, Debug)]
pub enum Step {
    /// Takes it.
    Take,
    /// Takes it after so long.
    TakeAfter(Duration),
    /// Takes it but for so many profiles, and says why.
    TakePartly(i64, &'static str),
    /// Takes it, and answers with these bytes as the framed message.
    TakeWith(Vec<u8>),
    /// Takes it, and answers with a message that does not end.
    TakeAndPour,
    /// Ends the call with this code and these further trailers, in one frame with the head.
    Refuse(u32, Vec<(&'static str, String)>),
    /// The same, after a head of its own.
    RefuseLate(u32),
    /// Refuses what has more than so many samples, as grpc-go does, and takes the rest, from here on.
    RefuseAbove(usize),
    /// Answers as an HTTP server that knows no gRPC.
    Http(u16, &'static str),
    /// Reads a little of the call, and closes the connection.
    CutRequest,
    /// Reads the call, and closes the connection without an answer.
    CutAnswer,
    /// Answers without a status, and closes the connection.
    CutStatus,
    /// Reads the call and says nothing until the server goes away.
    Hang,
    /// Answers in another protocol.
    Babble,
}

/// A server on a port of its own; ends when it is dropped.
pub struct GrpcServer {
    shared: Arc<Shared>,
    port: u16,
    closing: watch::Sender<bool>,
}

struct Shared {
    record: Mutex<Record<Step>>,
    closing: watch::Receiver<bool>,
    tls: Option<TlsAcceptor>,
    payloads: Payloads,
}

impl GrpcServer {
    pub fn start(script: impl IntoIterator<Item = Step>) -> Self {
        Self::start_over(script, None)
    }

    pub fn start_over(
        script: impl IntoIterator<Item = Step>,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (closing, closed) = watch::channel(false);
        let record = Mutex::new(Record::new(script));
        let tls = tls.map(TlsAcceptor::from);
        let shared = Arc::new(Shared { record, closing: closed, tls, payloads: Payloads::default() });
        let for_thread = Arc::clone(&shared);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(for_thread.accept(listener));
        });
        Self { shared, port, closing }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn requests(&self) -> Vec<Request> {
        self.shared.lock().requests.clone()
    }

    pub fn connections(&self) -> usize {
        self.shared.lock().connections
    }

    /// How many profiles it has taken.
    pub fn taken(&self) -> u64 {
        self.shared.lock().taken
    }

    /// Whether its script is over.
    pub fn script_is_over(&self) -> bool {
        self.shared.lock().script.is_empty()
    }

    /// The starts and weights of the profiles that it has taken whole.
    pub fn taken_profiles(&self) -> Vec<(u64, i64)> {
        self.shared.lock().taken_profiles.clone()
    }
}

impl Drop for GrpcServer {
    fn drop(&mut self) {
        self.closing.send_replace(true);
        self.shared.payloads.assert_conform();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Record<Step>> {
        self.record.lock().unwrap()
    }

    async fn accept(self: Arc<Self>, listener: std::net::TcpListener) {
        let listener = TcpListener::from_std(listener).unwrap();
        let mut closing = self.closing.clone();
        loop {
            let stream = tokio::select! {
                accepted = listener.accept() => accepted.unwrap().0,
                _ = closing.wait_for(|closed| *closed) => return,
            };
            self.lock().connections += 1;
            tokio::spawn(Arc::clone(&self).connect(stream));
        }
    }

    async fn connect(self: Arc<Self>, mut stream: TcpStream) {
        if matches!(self.lock().script.front(), Some(Step::Babble)) {
            self.lock().script.pop_front();
            stream.write_all(b"220 mail.example ESMTP\r\n\r\n").await.ok();
            return;
        }
        match &self.tls {
            None => Arc::clone(&self).serve(stream).await,
            Some(tls) => {
                if let Ok(stream) = tls.accept(stream).await {
                    Arc::clone(&self).serve(stream).await;
                }
            }
        }
    }

    /// Serves the calls of one connection.
    async fn serve(self: Arc<Self>, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let Ok(mut connection): Result<Connection<_, Bytes>, _> = handshake(stream).await else { return };
        let cut = Arc::new(Notify::new());
        loop {
            let accepted = tokio::select! {
                accepted = connection.accept() => accepted,
                () = cut.notified() => return,
            };
            let Some(Ok((request, respond))) = accepted else { return };
            let (shared, cut) = (Arc::clone(&self), Arc::clone(&cut));
            tokio::spawn(async move {
                if shared.call(request, respond).await.is_none() {
                    cut.notify_one();
                }
            });
        }
    }

    /// Serves one call; `None` if the connection is to be closed.
    async fn call(
        &self,
        request: http::Request<h2::RecvStream>,
        mut respond: SendResponse<Bytes>,
    ) -> Option<()> {
        let step = self.lock().script.pop_front().unwrap_or(Step::Take);
        let (head, mut stream) = request.into_parts();
        let mut body = Vec::new();
        while let Some(data) = stream.data().await {
            let data = data.ok()?;
            stream.flow_control().release_capacity(data.len()).ok()?;
            body.extend_from_slice(&data);
            if matches!(step, Step::CutRequest) {
                return None;
            }
        }
        let request = recorded(&head, &body);
        self.payloads.check(&request);
        if let Step::RefuseAbove(_) = step {
            self.lock().script.push_front(step.clone());
        }
        self.lock().requests.push(request.clone());
        self.answer(step, &request, &mut respond).await
    }

    async fn answer(&self, step: Step, request: &Request, respond: &mut SendResponse<Bytes>) -> Option<()> {
        let nothing = framed(&[]);
        match step {
            Step::Take => self.take(request, 0, nothing, respond),
            Step::TakeAfter(delay) => {
                tokio::time::sleep(delay).await;
                self.take(request, 0, nothing, respond)
            }
            Step::TakePartly(rejected, why) => {
                self.take(request, rejected, framed(&partial_success(rejected, why)), respond)
            }
            Step::TakeWith(message) => self.take(request, 0, message, respond),
            Step::TakeAndPour => {
                self.lock().take(request, 0);
                let mut stream = respond.send_response(head(), false).ok()?;
                stream.send_data(Bytes::from(vec![0; 1 << 20]), false).ok()?;
                self.closing.clone().wait_for(|closed| *closed).await.ok();
                None
            }
            Step::Refuse(code, fields) => {
                let mut head = head();
                head.headers_mut().extend(status(code, &fields));
                respond.send_response(head, true).ok().map(drop)
            }
            Step::RefuseLate(code) => {
                let mut stream = respond.send_response(head(), false).ok()?;
                stream.send_trailers(status(code, &[])).ok()
            }
            Step::RefuseAbove(limit) => {
                if request.weights().len() <= limit {
                    return self.take(request, 0, nothing, respond);
                }
                let why = "grpc: received message larger than max (2 vs. 1)".replace(' ', "%20");
                let mut head = head();
                head.headers_mut().extend(status(8, &[("grpc-message", why)]));
                respond.send_response(head, true).ok().map(drop)
            }
            Step::Http(code, content_type) => {
                let answer = Response::builder().status(code).header("content-type", content_type);
                respond.send_response(answer.body(()).unwrap(), true).ok().map(drop)
            }
            Step::CutStatus => {
                let mut stream = respond.send_response(head(), false).ok()?;
                stream.send_data(nothing.into(), false).ok()?;
                tokio::time::sleep(Duration::from_millis(50)).await;
                None
            }
            Step::Hang => {
                self.closing.clone().wait_for(|closed| *closed).await.ok();
                None
            }
            Step::CutRequest | Step::CutAnswer | Step::Babble => None,
        }
    }

    fn take(
        &self,
        request: &Request,
        rejected: i64,
        message: Vec<u8>,
        respond: &mut SendResponse<Bytes>,
    ) -> Option<()> {
        self.lock().take(request, rejected);
        let mut stream = respond.send_response(head(), false).ok()?;
        stream.send_data(message.into(), false).ok()?;
        stream.send_trailers(status(0, &[])).ok()
    }
}

fn head() -> Response<()> {
    Response::builder().header("content-type", "application/grpc").body(()).unwrap()
}

fn status(code: u32, fields: &[(&'static str, String)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("grpc-status", HeaderValue::from(code));
    for (name, value) in fields {
        headers.insert(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

/// The call as a request of the other server has it, its message without prefix and compression.
fn recorded(head: &http::request::Parts, body: &[u8]) -> Request {
    let mut text = format!("{} {} {:?}\r\n", head.method, head.uri.path(), head.version);
    for (name, value) in &head.headers {
        write!(text, "{name}: {}\r\n", value.to_str().unwrap()).unwrap();
    }
    let (prefix, message) = body.split_at(5);
    assert_eq!(u32::from_be_bytes(prefix[1..].try_into().unwrap()) as usize, message.len());
    let encoding = head.headers.get("grpc-encoding").map(|value| value.to_str().unwrap());
    assert_eq!(prefix[0] == 1, encoding.is_some(), "the flag says whether the message is compressed");
    let body = match encoding {
        None => message.to_vec(),
        Some("zstd") => zstd::decode_all(message).unwrap(),
        Some(other) => {
            assert_eq!(other, "gzip");
            let mut content = Vec::new();
            flate2::read::GzDecoder::new(message).read_to_end(&mut content).unwrap();
            content
        }
    };
    Request { head: text, body, at: Instant::now() }
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&[0], (message.len() as u32).to_be_bytes().as_slice(), message].concat()
}

/// An `ExportProfilesServiceResponse`, as the crate of the OpenTelemetry project writes it.
fn partial_success(rejected: i64, why: &str) -> Vec<u8> {
    let partial =
        service::ExportProfilesPartialSuccess { rejected_profiles: rejected, error_message: why.to_owned() };
    service::ExportProfilesServiceResponse { partial_success: Some(partial) }.encode_to_vec()
}
