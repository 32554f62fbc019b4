//! The variables by which Pyroscope's clients are configured.
//! Source: <https://grafana.com/docs/pyroscope/latest/configure-client/language-sdks/java/>.

use super::super::endpoint::shown;
use super::builder::endpoint;
use crate::config::env::Env;
use std::fmt;

/// The address of a Pyroscope that is told none.
pub const DEFAULT_PYROSCOPE_ENDPOINT: &str = "http://localhost:4040";

/// What the environment sets about the Pyroscope exporter. What it does not set, or sets to something malformed, is `None`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PyroscopeSettings {
    pub(super) endpoint: Option<String>,
    pub(super) tenant: Option<String>,
    /// User and password.
    pub(super) basic_auth: Option<(String, String)>,
}

impl PyroscopeSettings {
    pub(crate) fn read(env: &mut Env<'_>) -> Self {
        let address = |url: &str| endpoint(url).map(|_| url.to_owned());
        let tenant = env.text("PYROSCOPE_TENANT_ID").filter(|tenant| {
            let usable = super::builder::check_value(tenant);
            usable.inspect_err(|why| env.warn_secret("PYROSCOPE_TENANT_ID", &format!("it {why}"))).is_ok()
        });
        Self {
            endpoint: env.value("PYROSCOPE_SERVER_ADDRESS", shown, address),
            tenant,
            basic_auth: basic_auth(env),
        }
    }
}

/// A user without a password, or the other way round, is of no use.
fn basic_auth(env: &mut Env<'_>) -> Option<(String, String)> {
    const USER: &str = "PYROSCOPE_BASIC_AUTH_USER";
    const PASSWORD: &str = "PYROSCOPE_BASIC_AUTH_PASSWORD";
    match (env.text(USER), env.text(PASSWORD)) {
        (Some(user), Some(password)) => {
            let usable = super::builder::check_credentials(&user, &password);
            usable.map_err(|why| env.warn_secret(USER, &format!("user or password {why}"))).ok()?;
            Some((user, password))
        }
        (Some(_), None) => {
            env.warn_secret(USER, &format!("{PASSWORD} is not set"));
            None
        }
        (None, Some(_)) => {
            env.warn_secret(PASSWORD, &format!("{USER} is not set"));
            None
        }
        (None, None) => None,
    }
}

/// Neither tenant nor credentials are shown.
impl fmt::Debug for PyroscopeSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PyroscopeSettings")
            .field("endpoint", &self.endpoint.as_deref().map(shown))
            .field("has_tenant", &self.tenant.is_some())
            .field("has_basic_auth", &self.basic_auth.is_some())
            .finish()
    }
}
