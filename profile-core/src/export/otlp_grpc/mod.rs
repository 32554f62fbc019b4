//! OTLP over gRPC. Source: <https://opentelemetry.io/docs/specs/otlp/#otlpgrpc>.
//!
//! One unary call for each batch, on the thread of the queue that this exporter belongs to. The HTTP/2 connection is
//! that of `tonic`, on a runtime of one thread that runs only while a call is under way: the program needs no runtime,
//! and none of its threads is used. A connection that has failed is not used again.
//!
//! Which failures may be tried again is what the specification says: the codes `CANCELLED`, `DEADLINE_EXCEEDED`,
//! `ABORTED`, `OUT_OF_RANGE`, `UNAVAILABLE` and `DATA_LOSS`, `RESOURCE_EXHAUSTED` if the server says when, and
//! connections that fail, a server whose certificate cannot be trusted among them. A call ends within its timeout and by the deadline of the
//! attempt.

mod builder;
mod status;
mod unary;

pub use builder::OtlpGrpcExporterBuilder;

use super::answer::{Encoding, receipt};
use super::compression::Compression;
use super::endpoint::Endpoint;
use super::error::{ExportError, ExportReceipt};
use super::headers::Headers;
use super::{BatchLimits, Interrupter, MAX_BATCH, ProfileExporter};
use crate::error::Result;
use crate::profile::ProfileBatch;
use http::HeaderMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::Notify;
use tonic::transport::{self, Channel};

/// Sends profiles to an OTLP/gRPC server, such as an OpenTelemetry Collector or Pyroscope.
pub struct OtlpGrpcExporter {
    name: String,
    endpoint: Endpoint,
    transport: transport::Endpoint,
    headers: Headers,
    /// The same as they are sent.
    metadata: HeaderMap,
    timeout: Duration,
    compression: Compression,
    /// Made at the first call, on the thread that makes it.
    connection: Option<Connection>,
    interrupted: Arc<Notify>,
}

/// A connection, opened by its first call, and what drives it.
struct Connection {
    channel: Channel,
    runtime: Option<Runtime>,
}

/// gRPC has no timeout longer than that of eight digits; this is far from it and far beyond any retry policy.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

impl OtlpGrpcExporter {
    /// An exporter as the environment configures it, to be configured further.
    #[must_use]
    pub fn builder() -> OtlpGrpcExporterBuilder {
        OtlpGrpcExporterBuilder::default()
    }

    /// One call, on a connection that is there or is opened for it.
    fn call(&mut self, body: &[u8], timeout: Duration) -> Result<unary::Answer, ExportError> {
        let request = unary::request(body, self.compression.encoding(), &self.metadata, timeout);
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::new(&self.transport)?,
        };
        let interrupted = Arc::clone(&self.interrupted);
        let call = unary::call(connection.channel.clone(), request);
        let outcome = connection.run(async move {
            let call = pin!(tokio::time::timeout(timeout, call));
            let interrupted = pin!(interrupted.notified());
            match first(call, interrupted).await {
                Some(Ok(answered)) => answered,
                Some(Err(_)) => Err(ExportError::retryable(format!("no answer within {timeout:?}"))),
                None => Err(ExportError::retryable("interrupted by the shutdown")),
            }
        });
        if outcome.is_ok() {
            self.connection = Some(connection);
        }
        outcome
    }
}

/// What `wanted` comes to, unless `other` is done first.
async fn first<T>(
    mut wanted: std::pin::Pin<&mut impl Future<Output = T>>,
    mut other: std::pin::Pin<&mut impl Future<Output = ()>>,
) -> Option<T> {
    poll_fn(|context| match wanted.as_mut().poll(context) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => other.as_mut().poll(context).map(|()| None),
    })
    .await
}

impl Connection {
    fn new(transport: &transport::Endpoint) -> Result<Self, ExportError> {
        if Handle::try_current().is_ok() {
            return Err(ExportError::rejected("an OTLP/gRPC exporter cannot run within an async runtime"));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|cause| ExportError::retryable(format!("no runtime: {cause}")))?;
        let channel = {
            let _context = runtime.enter();
            transport.connect_lazy()
        };
        Ok(Self { channel, runtime: Some(runtime) })
    }

    fn run<T>(&mut self, future: impl Future<Output = Result<T, ExportError>>) -> Result<T, ExportError> {
        match &self.runtime {
            Some(runtime) => runtime.block_on(future),
            None => Err(ExportError::rejected("no runtime")),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Not by dropping it: that waits for a lookup of the server's name, which can hang.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl ProfileExporter for OtlpGrpcExporter {
    fn name(&self) -> &str {
        &self.name
    }

    fn export(&mut self, batch: &ProfileBatch, deadline: Instant) -> Result<ExportReceipt, ExportError> {
        let body = self.compression.compress(batch.to_otlp())?;
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = left.min(self.timeout).min(MAX_TIMEOUT);
        if timeout.is_zero() {
            return Err(ExportError::retryable("no time left to send"));
        }
        let answer = self.call(&body, timeout).map_err(|error| self.redacted(&error))?;
        let bytes = body.len() as u64;
        match answer {
            unary::Answer::Taken(message) => Ok(receipt(Encoding::Protobuf, &message, bytes, &self.headers)),
            unary::Answer::TakenWithNonsense(remark) => Ok(ExportReceipt::new(bytes).with_message(remark)),
            unary::Answer::Refused(status) => Err(self.redacted(&status.into_error())),
        }
    }

    fn limits(&self) -> BatchLimits {
        MAX_BATCH
    }

    fn interrupter(&self) -> Option<Interrupter> {
        let interrupted = Arc::clone(&self.interrupted);
        Some(Interrupter::new(move || interrupted.notify_one()))
    }
}

impl OtlpGrpcExporter {
    fn redacted(&self, error: &ExportError) -> ExportError {
        ExportError::new(error.kind(), self.headers.redacted(error.to_string()))
    }
}

impl fmt::Debug for OtlpGrpcExporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtlpGrpcExporter")
            .field("endpoint", &self.endpoint)
            .field("headers", &self.headers)
            .field("timeout", &self.timeout)
            .field("compression", &self.compression)
            .finish_non_exhaustive()
    }
}
