//! Traces of the same run: spans sent over OTLP/HTTP to the server that also gets the profiles.
//!
//! Any OpenTelemetry set-up does; this one needs no async runtime and few crates. Its part in profiling is that the
//! spans get the trace ids under which a tracing backend knows them.

use crate::orders::Failure;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracer, SdkTracerProvider, SpanData, SpanExporter,
};
use std::env;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tracing::Subscriber;
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::registry::LookupSpan;

/// Spans that may wait for delivery. More than the run makes, so that none is lost however slow the server is.
const QUEUE: usize = 65_536;

/// The pipeline of the run's spans.
#[derive(Debug)]
pub(crate) struct Traces {
    provider: SdkTracerProvider,
    undelivered: Undelivered,
}

/// How many spans the server did not take, and why the last of them.
type Undelivered = Arc<Mutex<Option<(usize, String)>>>;

impl Traces {
    /// The pipeline to the endpoint that the environment names, or nothing if it names none.
    pub(crate) fn from_env(service: &'static str) -> Result<Option<Self>, Failure> {
        let variables = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
        if variables.iter().all(|name| env::var_os(name).is_none_or(|value| value.is_empty())) {
            return Ok(None);
        }
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_http_client(Client::new())
            .build()?;
        let undelivered = Undelivered::default();
        let batches = BatchSpanProcessor::builder(Counted { exporter, undelivered: undelivered.clone() })
            .with_batch_config(BatchConfigBuilder::default().with_max_queue_size(QUEUE).build())
            .build();
        let provider = SdkTracerProvider::builder()
            .with_resource(Resource::builder().with_service_name(service).build())
            .with_span_processor(batches)
            .build();
        Ok(Some(Self { provider, undelivered }))
    }

    /// The layer that turns `tracing` spans into OpenTelemetry spans.
    pub(crate) fn layer<S>(&self) -> OpenTelemetryLayer<S, SdkTracer>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        tracing_opentelemetry::layer().with_tracer(self.provider.tracer("quickstart"))
    }

    /// Sends what is left. Fails if the server did not take all spans of the run.
    pub(crate) fn shutdown(self, deadline: Duration) -> Result<(), Failure> {
        self.provider.shutdown_with_timeout(deadline)?;
        match self.undelivered.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some((spans, why)) => Err(format!("{spans} spans were not delivered: {why}").into()),
            None => Ok(()),
        }
    }
}

/// The exporter, with its failures kept: the SDK would only log them.
#[derive(Debug)]
struct Counted {
    exporter: opentelemetry_otlp::SpanExporter,
    undelivered: Undelivered,
}

impl SpanExporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        self.exporter.export(batch).await.inspect_err(|error| {
            let mut undelivered = self.undelivered.lock().unwrap_or_else(PoisonError::into_inner);
            let earlier = undelivered.as_ref().map_or(0, |(spans, _)| *spans);
            *undelivered = Some((earlier + spans, error.to_string()));
        })
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// A blocking HTTP client: the batch processor calls it on a thread of its own.
#[derive(Debug)]
struct Client(ureq::Agent);

impl Client {
    fn new() -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(10)))
            .http_status_as_error(false)
            .build();
        Self(config.into())
    }
}

#[async_trait::async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, mut body) = self.0.run(request.map(|body| body.to_vec()))?.into_parts();
        Ok(Response::from_parts(head, body.read_to_vec()?.into()))
    }
}
