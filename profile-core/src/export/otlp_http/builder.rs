//! The configuration of the exporter, checked before the first profile.

use super::super::answer::Encoding;
use super::super::endpoint::{Endpoint, GivenEndpoint, Transport};
use super::super::otlp_options::{Options, common_options};
use super::super::otlp_settings::Protocol;
use super::super::tls::Tls;
use super::OtlpHttpExporter;
use super::wire::Sealed;
use crate::error::{Error, Result};
use std::fmt;
use ureq::Agent;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Connector, DefaultConnector};

/// Builds an [`OtlpHttpExporter`]. What is not set here comes from the environment, then from the defaults.
#[derive(Default)]
pub struct OtlpHttpExporterBuilder {
    options: Options,
    encoding: Option<Encoding>,
}

pub(super) const USER_AGENT: &str = concat!("OTel-OTLP-Exporter-Rust-profiles/", env!("CARGO_PKG_VERSION"));

common_options!(OtlpHttpExporterBuilder);

impl OtlpHttpExporterBuilder {
    /// The base URL, such as `http://localhost:4318`: `/v1development/profiles` is appended.
    /// [`DEFAULT_OTLP_HTTP_ENDPOINT`](crate::export::DEFAULT_OTLP_HTTP_ENDPOINT) by default.
    #[must_use]
    pub fn with_endpoint(mut self, base: impl Into<String>) -> Self {
        self.options.endpoint = Some(GivenEndpoint { is_whole: false, insecure: false, text: base.into() });
        self
    }

    /// The URL that takes profiles, used as it is.
    #[must_use]
    pub fn with_profiles_endpoint(mut self, url: impl Into<String>) -> Self {
        self.options.endpoint = Some(GivenEndpoint { is_whole: true, insecure: false, text: url.into() });
        self
    }

    /// How bodies are encoded; as protobuf by default, or what `OTEL_EXPORTER_OTLP_PROTOCOL` says.
    #[must_use]
    pub fn with_encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = Some(encoding);
        self
    }

    /// Checks it all; connects to nothing yet.
    ///
    /// # Errors
    /// [`Config`](crate::error::ErrorKind::Config) for a URL, a header, a timeout or a certificate that cannot be used,
    /// and for `https` without the feature `tls`.
    pub fn build(self) -> Result<OtlpHttpExporter> {
        let settled = self.options.settle(Transport::Http)?;
        let from_environment = match settled.protocol {
            Some(Protocol::HttpJson) => Encoding::Json,
            _ => Encoding::Protobuf,
        };
        let sealed = Sealed::new(&settled.headers, &settled.endpoint);
        Ok(OtlpHttpExporter {
            name: format!("otlp {}", settled.endpoint),
            encoding: self.encoding.unwrap_or(from_environment),
            agent: agent(&settled.endpoint, &settled.tls, &sealed)?,
            sealed,
            endpoint: settled.endpoint,
            headers: settled.headers,
            timeout: settled.timeout,
            compression: settled.compression,
        })
    }
}

fn agent(endpoint: &Endpoint, tls: &Tls, sealed: &Sealed) -> Result<Agent> {
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        // A POST must not be sent again as a GET, nor headers to another host.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(USER_AGENT)
        .accept_encoding("identity")
        .max_response_header_size(16 << 10)
        .input_buffer_size(16 << 10)
        .output_buffer_size(16 << 10)
        .max_idle_connections(1);
    if endpoint.is_loopback() {
        // A proxy from the environment serves to reach other hosts.
        config = config.proxy(None);
    }
    if endpoint.is_https() {
        config = tls.configure(config).map_err(|why| Error::config("certificate", "", &why))?;
    }
    let connector = DefaultConnector::new().chain(sealed.clone());
    Ok(Agent::with_parts(config.build(), connector, DefaultResolver::default()))
}

impl fmt::Debug for OtlpHttpExporterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("OtlpHttpExporterBuilder");
        shown.field("options", &self.options).field("encoding", &self.encoding).finish()
    }
}
