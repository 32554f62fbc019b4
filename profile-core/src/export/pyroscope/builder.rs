//! The configuration of the exporter: what the program sets, then what the environment sets, then the defaults; checked
//! before the first profile.

use super::super::endpoint::{GivenEndpoint, Transport, shown};
use super::super::headers::Headers;
use super::super::otlp_http::{OtlpHttpExporter, OtlpHttpExporterBuilder};
use super::super::otlp_settings::OtlpSettings;
use super::settings::{DEFAULT_PYROSCOPE_ENDPOINT, PyroscopeSettings};
use super::{PUSH_PATH, PyroscopeExporter};
use crate::config::Environment;
use crate::error::{Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt;
use std::time::Duration;

/// Builds a [`PyroscopeExporter`]. What is not set here comes from the environment, then from the defaults.
pub struct PyroscopeExporterBuilder {
    endpoint: Option<String>,
    tenant: Option<String>,
    basic_auth: Option<(String, String)>,
    /// Headers, timeout and all else that HTTP has.
    http: OtlpHttpExporterBuilder,
    settings: Option<PyroscopeSettings>,
}

impl Default for PyroscopeExporterBuilder {
    fn default() -> Self {
        // What the environment says about OTLP does not concern Pyroscope.
        let http = OtlpHttpExporter::builder().with_settings(OtlpSettings::default());
        Self { endpoint: None, tenant: None, basic_auth: None, http, settings: None }
    }
}

impl PyroscopeExporterBuilder {
    /// The server's address, such as `http://localhost:4040`; [`DEFAULT_PYROSCOPE_ENDPOINT`] or what
    /// `PYROSCOPE_SERVER_ADDRESS` says by default.
    #[must_use]
    pub fn with_endpoint(mut self, address: impl Into<String>) -> Self {
        self.endpoint = Some(address.into());
        self
    }

    /// The tenant of a server that has several: the header `X-Scope-OrgID`; by default what `PYROSCOPE_TENANT_ID` says.
    #[must_use]
    pub fn with_tenant_id(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// Who sends, as a server with Basic authentication asks it (RFC 7617): in Grafana Cloud the stack's user number and
    /// a token. By default what `PYROSCOPE_BASIC_AUTH_USER` and `PYROSCOPE_BASIC_AUTH_PASSWORD` say.
    #[must_use]
    pub fn with_basic_auth(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.basic_auth = Some((user.into(), password.into()));
        self
    }

    /// A header of every request.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.http = self.http.with_header(name, value);
        self
    }

    /// How long one request may take; 10 s by default.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.http = self.http.with_timeout(timeout);
        self
    }

    /// What the environment says, if it has been read before; or else `build` reads it.
    #[must_use]
    pub fn with_settings(mut self, settings: PyroscopeSettings) -> Self {
        self.settings = Some(settings);
        self
    }

    /// Checks it all; connects to nothing yet.
    ///
    /// # Errors
    /// [`Config`](crate::error::ErrorKind::Config) for a URL, a tenant, credentials, a header or a timeout that cannot be
    /// used.
    pub fn build(self) -> Result<PyroscopeExporter> {
        let settings = self.settings.unwrap_or_else(|| {
            let environment = Environment::of_process();
            environment.report();
            environment.pyroscope
        });
        let address = self.endpoint.or(settings.endpoint);
        let address = address.as_deref().unwrap_or(DEFAULT_PYROSCOPE_ENDPOINT);
        let url =
            endpoint(address).map_err(|why| Error::config("Pyroscope endpoint", &shown(address), why))?;
        let mut http = self.http.with_profiles_endpoint(&url).with_header("Connect-Protocol-Version", "1");
        if let Some(tenant) = self.tenant.or(settings.tenant) {
            check_value(&tenant).map_err(|why| Error::config("tenant id", "(not shown)", why))?;
            http = http.with_header("X-Scope-OrgID", tenant);
        }
        if let Some((user, password)) = self.basic_auth.or(settings.basic_auth) {
            check_credentials(&user, &password)
                .map_err(|why| Error::config("user or password", "(not shown)", why))?;
            let encoded = STANDARD.encode(format!("{user}:{password}"));
            http = http.with_header("Authorization", format!("Basic {encoded}"));
        }
        let http = http.build()?;
        Ok(PyroscopeExporter { name: format!("pyroscope {}", shown(&url)), http })
    }
}

/// The URL that takes profiles at a server's address.
pub(super) fn endpoint(address: &str) -> Result<String, &'static str> {
    if address.contains('?') {
        return Err("has a query (?), which a base URL cannot have");
    }
    let url = format!("{}{PUSH_PATH}", address.trim_end_matches('/'));
    let given = GivenEndpoint { is_whole: true, insecure: false, text: url };
    given.resolve(Transport::Http).map(|_| given.text)
}

/// Whether a header can have this value.
pub(super) fn check_value(value: &str) -> Result<(), &'static str> {
    if value.is_empty() {
        return Err("is empty");
    }
    Headers::check("x", value)
}

/// Source: RFC 7617, section 2.
pub(super) fn check_credentials(user: &str, password: &str) -> Result<(), &'static str> {
    if user.contains(':') {
        return Err("has a colon, which a user cannot have");
    }
    if user.is_empty() || password.is_empty() {
        return Err("is empty");
    }
    if [user, password].iter().any(|text| text.chars().any(char::is_control)) {
        return Err("has a control character");
    }
    Ok(())
}

impl fmt::Debug for PyroscopeExporterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PyroscopeExporterBuilder")
            .field("endpoint", &self.endpoint.as_deref().map(shown))
            .field("has_tenant", &self.tenant.is_some())
            .field("has_basic_auth", &self.basic_auth.is_some())
            .field("http", &self.http)
            .field("settings", &self.settings)
            .finish()
    }
}
