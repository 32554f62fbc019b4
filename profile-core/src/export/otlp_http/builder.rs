//! The configuration of the exporter: what the program sets, then what the environment sets, then the defaults; checked
//! before the first profile.

use super::super::endpoint::{Endpoint, shown};
use super::super::otlp_settings::{
    Compression, DEFAULT_OTLP_HTTP_ENDPOINT, DEFAULT_OTLP_TIMEOUT, OtlpSettings, check_header, usable,
};
use super::response::CONTENT_TYPE;
use super::{OtlpHttpExporter, names};
use crate::config::Environment;
use crate::error::{Error, Result};
use std::fmt;
use std::time::Duration;
use ureq::Agent;

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

const USER_AGENT: &str = concat!("OTel-OTLP-Exporter-Rust-profiles/", env!("CARGO_PKG_VERSION"));

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
