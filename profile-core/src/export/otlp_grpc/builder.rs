//! The configuration of the exporter, checked before the first profile.

use super::super::endpoint::{GivenEndpoint, Transport};
use super::super::headers::Headers;
use super::super::otlp_options::{Options, Settled, common_options};
use super::OtlpGrpcExporter;
use crate::error::{Error, Result};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tonic::transport;

/// Builds an [`OtlpGrpcExporter`]. What is not set here comes from the environment, then from the defaults.
#[derive(Default)]
pub struct OtlpGrpcExporterBuilder {
    options: Options,
}

const USER_AGENT: &str = concat!("OTel-OTLP-Exporter-Rust-profiles/", env!("CARGO_PKG_VERSION"));

/// How often an idle connection is looked after: a peer that is gone is noticed when it is needed.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);

common_options!(OtlpGrpcExporterBuilder);

impl OtlpGrpcExporterBuilder {
    /// The server, such as `http://localhost:4317` ([`DEFAULT_OTLP_GRPC_ENDPOINT`], the default) or, with the feature
    /// `tls`, `https://collector:4317`. Without a scheme it is `https`.
    ///
    /// [`DEFAULT_OTLP_GRPC_ENDPOINT`]: crate::export::DEFAULT_OTLP_GRPC_ENDPOINT
    #[must_use]
    pub fn with_endpoint(mut self, server: impl Into<String>) -> Self {
        self.options.endpoint = Some(GivenEndpoint { is_whole: false, insecure: false, text: server.into() });
        self
    }

    /// Checks it all; connects to nothing yet.
    ///
    /// # Errors
    /// [`Config`](crate::error::ErrorKind::Config) for an endpoint, a header, a timeout or a certificate that cannot be used, and for
    /// `https` without the feature `tls`.
    pub fn build(self) -> Result<OtlpGrpcExporter> {
        let settled = self.options.settle(Transport::Grpc)?;
        Ok(OtlpGrpcExporter {
            name: format!("otlp grpc {}", settled.endpoint),
            transport: transport(&settled)?,
            metadata: metadata(&settled.headers)?,
            endpoint: settled.endpoint,
            headers: settled.headers,
            timeout: settled.timeout,
            compression: settled.compression,
            connection: None,
            interrupted: Arc::new(Notify::new()),
        })
    }
}

fn transport(settled: &Settled) -> Result<transport::Endpoint> {
    let refused = |cause: transport::Error| {
        let cause = super::unary::chain(&cause);
        Error::config("OTLP endpoint", &settled.endpoint.to_string(), &format!("cannot be used: {cause}"))
    };
    let endpoint = transport::Endpoint::from_shared(settled.endpoint.url().to_owned()).map_err(refused)?;
    let endpoint = endpoint.user_agent(USER_AGENT).map_err(refused)?;
    let endpoint = endpoint.tcp_keepalive(Some(TCP_KEEPALIVE)).http2_max_header_list_size(16 << 10);
    #[cfg(feature = "tls")]
    if settled.endpoint.is_https() {
        return endpoint.tls_config(settled.tls.for_grpc()).map_err(refused);
    }
    Ok(endpoint)
}

/// The headers as gRPC has them. Their values are marked as secrets, so that no library below shows them.
fn metadata(headers: &Headers) -> Result<HeaderMap> {
    let mut map = HeaderMap::new();
    for (name, value) in headers.iter() {
        let refused = |why| Error::config("header", name, why);
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| refused("is not a header name"))?;
        if key.as_str().starts_with("grpc-") || matches!(key.as_str(), "te" | "user-agent") {
            return Err(refused("is set by the exporter itself"));
        }
        if key.as_str().ends_with("-bin") {
            return Err(refused("would be binary metadata, which is not supported"));
        }
        let mut value =
            HeaderValue::from_str(value).map_err(|_| refused("has a value that cannot be sent"))?;
        value.set_sensitive(true);
        map.insert(key, value);
    }
    Ok(map)
}

impl fmt::Debug for OtlpGrpcExporterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtlpGrpcExporterBuilder").field("options", &self.options).finish()
    }
}
