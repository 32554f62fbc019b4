//! OTLP over HTTP/1.1 with protobuf bodies. Source: <https://opentelemetry.io/docs/specs/otlp/#otlphttp>.
//!
//! One request for each batch, on the thread of the queue that this exporter belongs to. A request, from looking up the
//! name to the last byte of the answer, ends within its timeout and by the deadline of the attempt. Which failures may
//! be tried again is what the specification says: 429, 502, 503, 504, and connections that fail. An answer is read up
//! to a bound, and one that makes no sense is told to the developer but changes nothing: the status alone decides.

use super::endpoint::{Endpoint, shown};
use super::error::{ExportError, ExportErrorKind, ExportReceipt};
use super::otlp_response::{ExportResponse, Status};
use super::otlp_settings::{
    Compression, DEFAULT_OTLP_HTTP_ENDPOINT, DEFAULT_OTLP_TIMEOUT, OtlpSettings, check_header, usable,
};
use super::{BatchLimits, Interrupter, ProfileExporter, retry_after};
use crate::config::Environment;
use crate::error::{Error, Result};
use crate::profile::ProfileBatch;
use prost::Message;
use std::fmt;
use std::io::Write;
use std::time::{Duration, Instant, SystemTime};
use ureq::http::Response;
use ureq::{Agent, Body};

/// Sends profiles to an OTLP/HTTP server, such as an OpenTelemetry Collector or Pyroscope.
pub struct OtlpHttpExporter {
    name: String,
    endpoint: Endpoint,
    headers: Vec<(String, String)>,
    timeout: Duration,
    compression: Compression,
    agent: Agent,
}

/// Builds an [`OtlpHttpExporter`]. What is not set here comes from the environment, then from the defaults.
#[derive(Default)]
pub struct OtlpHttpExporterBuilder {
    endpoint: Option<(EndpointKind, String)>,
    headers: Vec<(String, String)>,
    timeout: Option<Duration>,
    compression: Option<Compression>,
    settings: Option<OtlpSettings>,
}

#[derive(Clone, Copy)]
enum EndpointKind {
    Base,
    Full,
}

/// The type of the body and of the answer, to the letter: Pyroscope compares the whole header.
const CONTENT_TYPE: &str = "application/x-protobuf";

const USER_AGENT: &str = concat!("OTel-OTLP-Exporter-Rust-profiles/", env!("CARGO_PKG_VERSION"));

/// Well below what peers take by default: Pyroscope 16 000 samples and 4 MiB of a profile, as pprof; gRPC servers 4 MiB
/// of a request, to which a collector may pass it on.
const MAX_BATCH: BatchLimits = BatchLimits { max_samples: 10_000, max_bytes: 2 << 20 };

/// How much of an answer is read. One from an OTLP server has a few hundred bytes.
const MAX_RESPONSE: u64 = 64 << 10;

/// Shorter parts of a header's value are no secrets, and would be found in every text.
const MIN_SECRET: usize = 4;

impl OtlpHttpExporter {
    /// An exporter as the environment configures it, to be configured further.
    #[must_use]
    pub fn builder() -> OtlpHttpExporterBuilder {
        OtlpHttpExporterBuilder::default()
    }

    fn post(&self, body: &[u8], timeout: Duration) -> Result<Response<Body>, ureq::Error> {
        let mut request = self.agent.post(self.endpoint.url()).header("content-type", CONTENT_TYPE);
        if self.compression == Compression::Gzip {
            request = request.header("content-encoding", "gzip");
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request.config().timeout_global(Some(timeout)).build().send(body)
    }

    /// The batch is taken, whatever the body says; the body may have something to say all the same.
    fn receipt(&self, mut response: Response<Body>, bytes: usize) -> ExportReceipt {
        let receipt = ExportReceipt::new(bytes as u64);
        let content_type = header(&response, "content-type").unwrap_or_default().to_owned();
        let body = match read_body(&mut response) {
            Ok(body) => body,
            Err(why) => return receipt.with_message(why),
        };
        if !body.is_empty() && !is_protobuf(&content_type) {
            let why = format!("the answer has content type {content_type:?}: is this an OTLP server?");
            return receipt.with_message(self.redacted(why));
        }
        let Ok(answer) = ExportResponse::decode(body.as_slice()) else {
            return receipt.with_message("the answer is malformed: is this an OTLP server?");
        };
        let partial = answer.partial_success.unwrap_or_default();
        let rejected = u64::try_from(partial.rejected_profiles).unwrap_or(0);
        let receipt = receipt.with_rejected(rejected);
        if partial.error_message.is_empty() {
            receipt
        } else {
            receipt.with_message(self.redacted(partial.error_message))
        }
    }

    fn refusal(&self, mut response: Response<Body>) -> ExportError {
        let status = response.status().as_u16();
        let kind = match status {
            429 | 502..=504 => {
                let after = header(&response, "retry-after");
                ExportErrorKind::Retryable {
                    after: after.and_then(|value| retry_after::parse(value, SystemTime::now())),
                }
            }
            413 => ExportErrorKind::TooLarge,
            _ => ExportErrorKind::Rejected,
        };
        let why = self.redacted(reason(&mut response));
        let colon = if why.is_empty() { "" } else { ": " };
        ExportError::new(kind, format!("HTTP status {}{colon}{why}", response.status()))
    }

    fn failure(&self, error: &ureq::Error, timeout: Duration) -> ExportError {
        match error {
            ureq::Error::Timeout(_) => ExportError::retryable(format!("no answer within {timeout:?}")),
            ureq::Error::Io(cause) => ExportError::retryable(cause.to_string()),
            ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => {
                ExportError::retryable(error.to_string())
            }
            other => ExportError::rejected(self.redacted(other.to_string())),
        }
    }

    /// `text` of a server without the values of our headers, should it repeat them.
    fn redacted(&self, text: String) -> String {
        let values = self.headers.iter().map(|(_, value)| value.as_str());
        let secrets = values.flat_map(|value| value.split_ascii_whitespace().chain([value]));
        let secrets = secrets.filter(|secret| secret.len() >= MIN_SECRET);
        secrets.fold(text, |text, secret| text.replace(secret, "***"))
    }
}

impl ProfileExporter for OtlpHttpExporter {
    fn name(&self) -> &str {
        &self.name
    }

    fn export(&mut self, batch: &ProfileBatch, deadline: Instant) -> Result<ExportReceipt, ExportError> {
        let body = compress(batch.to_otlp(), self.compression)?;
        let timeout = deadline.saturating_duration_since(Instant::now()).min(self.timeout);
        if timeout.is_zero() {
            return Err(ExportError::retryable("no time left to send"));
        }
        let response = self.post(&body, timeout).map_err(|error| self.failure(&error, timeout))?;
        if response.status().is_success() {
            Ok(self.receipt(response, body.len()))
        } else {
            Err(self.refusal(response))
        }
    }

    fn limits(&self) -> BatchLimits {
        MAX_BATCH
    }

    fn interrupter(&self) -> Option<Interrupter> {
        let agent = self.agent.clone();
        Some(Interrupter::new(move || agent.shutdown()))
    }
}

fn compress(body: Vec<u8>, compression: Compression) -> Result<Vec<u8>, ExportError> {
    match compression {
        Compression::None => Ok(body),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            let compressed = encoder.write_all(&body).and_then(|()| encoder.finish());
            compressed.map_err(|cause| ExportError::rejected(format!("gzip: {cause}")))
        }
    }
}

fn header<'a>(response: &'a Response<Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

fn is_protobuf(content_type: &str) -> bool {
    content_type.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(CONTENT_TYPE))
}

/// The body, if it is there and not too large; or else a sentence.
fn read_body(response: &mut Response<Body>) -> Result<Vec<u8>, String> {
    let body = response.body_mut().with_config().limit(MAX_RESPONSE).read_to_vec();
    body.map_err(|error| format!("the answer could not be read: {error}"))
}

/// What the server says about a refusal, if it can be understood.
fn reason(response: &mut Response<Body>) -> String {
    if response.status().is_redirection() {
        let to = header(response, "location").map(shown).unwrap_or_default();
        return format!("redirects to {to:?} are not followed: configure the final URL");
    }
    let content_type = header(response, "content-type").unwrap_or_default().to_owned();
    let body = read_body(response).unwrap_or_default();
    if is_protobuf(&content_type) {
        return Status::decode(body.as_slice()).unwrap_or_default().message;
    }
    let is_text = ["text/plain", "application/json"].iter().any(|kind| content_type.starts_with(kind));
    if is_text { String::from_utf8_lossy(&body).trim().to_owned() } else { String::new() }
}

impl OtlpHttpExporterBuilder {
    /// The base URL, such as `http://localhost:4318`: `/v1development/profiles` is appended.
    /// [`DEFAULT_OTLP_HTTP_ENDPOINT`] by default.
    #[must_use]
    pub fn with_endpoint(mut self, base: impl Into<String>) -> Self {
        self.endpoint = Some((EndpointKind::Base, base.into()));
        self
    }

    /// The URL that takes profiles, used as it is.
    #[must_use]
    pub fn with_profiles_endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoint = Some((EndpointKind::Full, url.into()));
        self
    }

    /// A header of every request, such as `Authorization`. It replaces one of the same name from the environment.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// How long one request may take; [`DEFAULT_OTLP_TIMEOUT`] by default.
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How bodies are compressed; not at all by default.
    #[must_use]
    pub const fn with_compression(mut self, compression: Compression) -> Self {
        self.compression = Some(compression);
        self
    }

    /// What the environment says, if it has been read before; or else `build` reads it.
    #[must_use]
    pub fn with_settings(mut self, settings: OtlpSettings) -> Self {
        self.settings = Some(settings);
        self
    }

    /// Checks it all; connects to nothing yet.
    ///
    /// # Errors
    /// [`Config`](crate::error::ErrorKind::Config) for a URL, a header or a timeout that cannot be used, and for
    /// `https`, which this version does not have.
    pub fn build(mut self) -> Result<OtlpHttpExporter> {
        let settings = self.settings.take().unwrap_or_else(|| {
            let environment = Environment::of_process();
            environment.report();
            environment.otlp
        });
        let endpoint = self.endpoint(settings.endpoint)?;
        let timeout = self.timeout.or(settings.timeout).unwrap_or(DEFAULT_OTLP_TIMEOUT);
        if timeout.is_zero() {
            return Err(Error::config("timeout", "0", "leaves no time for a request"));
        }
        Ok(OtlpHttpExporter {
            name: format!("otlp {endpoint}"),
            agent: agent(&endpoint),
            endpoint,
            headers: self.headers(settings.headers)?,
            timeout,
            compression: self.compression.or(settings.compression).unwrap_or_default(),
        })
    }

    fn endpoint(&self, from_environment: Option<Endpoint>) -> Result<Endpoint> {
        let (parsed, text) = match (&self.endpoint, from_environment) {
            (Some((EndpointKind::Full, url)), _) => (Endpoint::full(url), url.as_str()),
            (Some((EndpointKind::Base, url)), _) => (Endpoint::base(url), url.as_str()),
            (None, Some(endpoint)) => return Ok(endpoint),
            (None, None) => (Endpoint::base(DEFAULT_OTLP_HTTP_ENDPOINT), DEFAULT_OTLP_HTTP_ENDPOINT),
        };
        usable(parsed).map_err(|why| Error::config("OTLP endpoint", &shown(text), why))
    }

    /// The headers set here, after those of the environment that are not.
    fn headers(&self, from_environment: Vec<(String, String)>) -> Result<Vec<(String, String)>> {
        for (name, value) in &self.headers {
            check_header(name, value).map_err(|why| Error::config("header", name, why))?;
        }
        let mut headers = from_environment;
        headers.retain(|(name, _)| !self.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name)));
        headers.extend(self.headers.iter().cloned());
        Ok(headers)
    }
}

fn agent(endpoint: &Endpoint) -> Agent {
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        // A POST must not be sent again as a GET, nor headers to another host.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(USER_AGENT)
        .accept(CONTENT_TYPE)
        .accept_encoding("identity")
        .max_response_header_size(16 << 10)
        .input_buffer_size(16 << 10)
        .output_buffer_size(16 << 10)
        .max_idle_connections(1);
    if endpoint.is_loopback() {
        // A proxy from the environment serves to reach other hosts.
        config = config.proxy(None);
    }
    config.build().new_agent()
}

impl fmt::Debug for OtlpHttpExporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtlpHttpExporter")
            .field("endpoint", &self.endpoint)
            .field("headers", &names(&self.headers))
            .field("timeout", &self.timeout)
            .field("compression", &self.compression)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for OtlpHttpExporterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtlpHttpExporterBuilder")
            .field("endpoint", &self.endpoint.as_ref().map(|(_, url)| shown(url)))
            .field("headers", &names(&self.headers))
            .field("timeout", &self.timeout)
            .field("compression", &self.compression)
            .finish_non_exhaustive()
    }
}

/// The names of headers: their values may be secrets.
fn names(headers: &[(String, String)]) -> Vec<&str> {
    headers.iter().map(|(name, _)| name.as_str()).collect()
}
