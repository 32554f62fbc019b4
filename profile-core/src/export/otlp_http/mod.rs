//! OTLP over HTTP/1.1, as protobuf or JSON. Source: <https://opentelemetry.io/docs/specs/otlp/#otlphttp>.
//!
//! One request for each batch, on the thread of the queue that this exporter belongs to. A request, from looking up the
//! name to the last byte of the answer, ends within its timeout and by the deadline of the attempt. Which failures may
//! be tried again is what the specification says: 429, 502, 503, 504, and connections that fail. An answer is read up
//! to a bound, and one that makes no sense is told to the developer but changes nothing: the status alone decides.

mod builder;
mod response;
mod wire;

pub use builder::OtlpHttpExporterBuilder;

use super::answer::{Encoding, receipt};
use super::compression::Compression;
use super::endpoint::Endpoint;
use super::error::{ExportError, ExportErrorKind, ExportReceipt};
use super::headers::Headers;
use super::{BatchLimits, Interrupter, MAX_BATCH, ProfileExporter};
use crate::error::Result;
use crate::profile::ProfileBatch;
use response::{Answer, header, reason};
use std::fmt;
use std::time::{Duration, Instant, SystemTime};
use ureq::http::Response;
use ureq::{Agent, Body};
use wire::Sealed;

/// Sends profiles to an OTLP/HTTP server, such as an OpenTelemetry Collector or Pyroscope.
pub struct OtlpHttpExporter {
    name: String,
    endpoint: Endpoint,
    headers: Headers,
    timeout: Duration,
    encoding: Encoding,
    compression: Compression,
    agent: Agent,
    /// What the agent is not told.
    sealed: Sealed,
}

/// JSON takes less than eight times the bytes of protobuf, which limits are about: most where numbers take one byte, 8.7
/// times for a function and 7.5 with the line that refers to it; text takes six times at most, that of control characters.
const MAX_JSON_BATCH: BatchLimits = BatchLimits { max_bytes: MAX_BATCH.max_bytes / 4, ..MAX_BATCH };

/// Bytes of a body that receivers take, whatever its form. Only a single sample can be larger in JSON.
const MAX_JSON_BODY: usize = 4 << 20;

impl OtlpHttpExporter {
    /// An exporter as the environment configures it, to be configured further.
    #[must_use]
    pub fn builder() -> OtlpHttpExporterBuilder {
        OtlpHttpExporterBuilder::default()
    }

    /// Sends `body`, and returns what a server that takes it answers.
    pub(super) fn send(
        &self,
        content_type: &'static str,
        encoding: Option<&'static str>,
        body: &[u8],
        deadline: Instant,
    ) -> Result<Answer, ExportError> {
        let timeout = deadline.saturating_duration_since(Instant::now()).min(self.timeout);
        if timeout.is_zero() {
            return Err(ExportError::retryable("no time left to send"));
        }
        let response = self.post(content_type, encoding, body, timeout);
        let response = response.map_err(|error| self.failure(&error, timeout))?;
        if response.status().is_success() { Ok(Answer::read(response)) } else { Err(self.refusal(response)) }
    }

    /// `text` of a server without our headers' values.
    pub(super) fn redacted(&self, text: String) -> String {
        self.headers.redacted(text)
    }

    fn post(
        &self,
        content_type: &'static str,
        encoding: Option<&'static str>,
        body: &[u8],
        timeout: Duration,
    ) -> Result<Response<Body>, ureq::Error> {
        let mut request = self.agent.post(self.endpoint.url_without_query());
        request = request.header("content-type", content_type).header("accept", content_type);
        if let Some(encoding) = encoding {
            request = request.header("content-encoding", encoding);
        }
        for (name, value) in self.headers.iter().filter(|(name, _)| wire::is_plain(name)) {
            request = request.header(name, value);
        }
        request = request.header(wire::PLACEHOLDER, self.sealed.mark());
        request.config().timeout_global(Some(timeout)).build().send(body)
    }

    /// The batch is taken, whatever the body says.
    fn receipt(&self, answer: Answer, bytes: usize) -> ExportReceipt {
        let bytes = bytes as u64;
        let content_type = answer.content_type;
        let body = match answer.body {
            Ok(body) => body,
            Err(why) => return ExportReceipt::new(bytes).with_message(why),
        };
        match Encoding::of(&content_type) {
            Some(encoding) => receipt(encoding, &body, bytes, &self.headers),
            None if body.is_empty() => ExportReceipt::new(bytes),
            None => {
                let why = format!("the answer is of type \"{content_type}\": is this an OTLP server?");
                ExportReceipt::new(bytes).with_message(self.redacted(why))
            }
        }
    }

    fn refusal(&self, mut response: Response<Body>) -> ExportError {
        let status = response.status().as_u16();
        let kind = match status {
            429 | 502..=504 => {
                let after = header(&response, "retry-after");
                ExportErrorKind::Retryable {
                    after: after.and_then(|value| super::retry_after::parse(value, SystemTime::now())),
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
            ureq::Error::Io(cause) => ExportError::retryable(self.redacted(cause.to_string())),
            ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => {
                ExportError::retryable(error.to_string())
            }
            other => ExportError::rejected(self.redacted(other.to_string())),
        }
    }
}

impl ProfileExporter for OtlpHttpExporter {
    fn name(&self) -> &str {
        &self.name
    }

    fn export(&mut self, batch: &ProfileBatch, deadline: Instant) -> Result<ExportReceipt, ExportError> {
        let body = match self.encoding {
            Encoding::Protobuf => batch.to_otlp(),
            Encoding::Json => batch.to_otlp_json().into_bytes(),
        };
        if self.encoding == Encoding::Json && body.len() > MAX_JSON_BODY {
            let why =
                format!("{} bytes of JSON, more than the {MAX_JSON_BODY} that receivers take", body.len());
            return Err(ExportError::new(ExportErrorKind::TooLarge, why));
        }
        let body = self.compression.compress(body)?;
        let answer = self.send(self.encoding.content_type(), self.compression.encoding(), &body, deadline)?;
        Ok(self.receipt(answer, body.len()))
    }

    fn limits(&self) -> BatchLimits {
        match self.encoding {
            Encoding::Protobuf => MAX_BATCH,
            Encoding::Json => MAX_JSON_BATCH,
        }
    }

    fn interrupter(&self) -> Option<Interrupter> {
        let agent = self.agent.clone();
        Some(Interrupter::new(move || agent.shutdown()))
    }
}

impl fmt::Debug for OtlpHttpExporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtlpHttpExporter")
            .field("endpoint", &self.endpoint)
            .field("headers", &self.headers)
            .field("timeout", &self.timeout)
            .field("encoding", &self.encoding)
            .field("compression", &self.compression)
            .finish_non_exhaustive()
    }
}
