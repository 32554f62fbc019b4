//! OTLP over HTTP/1.1 with protobuf bodies. Source: <https://opentelemetry.io/docs/specs/otlp/#otlphttp>.
//!
//! One request for each batch, on the thread of the queue that this exporter belongs to. A request, from looking up the
//! name to the last byte of the answer, ends within its timeout and by the deadline of the attempt. Which failures may
//! be tried again is what the specification says: 429, 502, 503, 504, and connections that fail. An answer is read up
//! to a bound, and one that makes no sense is told to the developer but changes nothing: the status alone decides.

mod builder;
mod response;
mod retry_after;

pub use builder::OtlpHttpExporterBuilder;

use super::endpoint::Endpoint;
use super::error::{ExportError, ExportErrorKind, ExportReceipt};
use super::otlp_settings::Compression;
use super::{BatchLimits, Interrupter, ProfileExporter};
use crate::error::Result;
use crate::profile::ProfileBatch;
use prost::Message;
use response::{CONTENT_TYPE, ExportResponse, header, is_protobuf, read_body, reason};
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

/// Well below what peers take by default: Pyroscope 16 000 samples and 4 MiB of a profile, as pprof; gRPC servers 4 MiB
/// of a request, to which a collector may pass it on.
const MAX_BATCH: BatchLimits = BatchLimits { max_samples: 10_000, max_bytes: 2 << 20 };

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
            let why = format!("the answer is of type \"{content_type}\": is this an OTLP server?");
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

/// The names of headers: their values may be secrets.
fn names(headers: &[(String, String)]) -> Vec<&str> {
    headers.iter().map(|(name, _)| name.as_str()).collect()
}
