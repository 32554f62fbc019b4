//! What can be set about an OTLP exporter, whatever its transport, and the variables that set it.
//!
//! The OpenTelemetry specification names no variables of the profiles signal yet; these follow the pattern of the other
//! signals, as other profilers do: `OTEL_EXPORTER_OTLP_PROFILES_<X>` first, then `OTEL_EXPORTER_OTLP_<X>`.
//! Source: <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>.

use super::endpoint::{Endpoint, shown};
use crate::config::env::Env;
use std::fmt;
use std::time::Duration;

/// The base URL of an OTLP/HTTP exporter that is told none.
pub const DEFAULT_OTLP_HTTP_ENDPOINT: &str = "http://localhost:4318";

/// How long one request may take: the default of `OTEL_EXPORTER_OTLP_TIMEOUT`.
pub const DEFAULT_OTLP_TIMEOUT: Duration = Duration::from_secs(10);

/// The path of the profiles signal, appended to a base URL.
pub const PROFILES_PATH: &str = "/v1development/profiles";

/// How the body of a request is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// As gzip (RFC 1952).
    Gzip,
}

/// What the environment sets about OTLP exporters. What it does not set, or sets to something malformed, is `None`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct OtlpSettings {
    pub(crate) endpoint: Option<Endpoint>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) compression: Option<Compression>,
}

impl OtlpSettings {
    /// Whether the environment says where to send profiles.
    #[must_use]
    pub const fn has_endpoint(&self) -> bool {
        self.endpoint.is_some()
    }

    pub(crate) fn read(env: &mut Env<'_>) -> Self {
        let own = env.value("OTEL_EXPORTER_OTLP_PROFILES_ENDPOINT", shown, |url| usable(Endpoint::full(url)));
        let endpoint = own
            .or_else(|| env.value("OTEL_EXPORTER_OTLP_ENDPOINT", shown, |url| usable(Endpoint::base(url))));
        first(env, "PROTOCOL", |env, name| env.value(name, str::to_owned, protocol));
        Self {
            endpoint,
            headers: first(env, "HEADERS", headers).unwrap_or_default(),
            timeout: first(env, "TIMEOUT", timeout),
            compression: first(env, "COMPRESSION", |env, name| env.value(name, str::to_owned, compression)),
        }
    }
}

/// What the first variable of a setting, that of the profiles signal before the common one, has for `read`.
fn first<T>(env: &mut Env<'_>, setting: &str, read: impl Fn(&mut Env<'_>, &str) -> Option<T>) -> Option<T> {
    let prefixes = ["OTEL_EXPORTER_OTLP_PROFILES_", "OTEL_EXPORTER_OTLP_"];
    prefixes.iter().find_map(|prefix| read(env, &format!("{prefix}{setting}")))
}

/// An endpoint that this build can reach.
pub(crate) fn usable(endpoint: Result<Endpoint, &'static str>) -> Result<Endpoint, &'static str> {
    endpoint.and_then(|endpoint| if endpoint.is_https() { Err(NO_TLS) } else { Ok(endpoint) })
}

const NO_TLS: &str = "needs TLS, which this version does not have: send to a collector nearby by http://";

/// Only one protocol is built in, so there is nothing to keep; but a wish for another one must not pass in silence.
fn protocol(value: &str) -> Result<(), &'static str> {
    match value {
        "http/protobuf" => Ok(()),
        "grpc" | "http/json" => Err("is not supported yet: http/protobuf is used"),
        _ => Err("is not one of: http/protobuf"),
    }
}

fn compression(value: &str) -> Result<Compression, &'static str> {
    match value {
        "none" => Ok(Compression::None),
        "gzip" => Ok(Compression::Gzip),
        "zstd" => Err("is not supported yet"),
        _ => Err("is not one of: none, gzip"),
    }
}

/// In milliseconds; 0 is no limit, as the specification has it, so that only the retry policy limits an attempt.
fn timeout(env: &mut Env<'_>, name: &str) -> Option<Duration> {
    let millis = env.number(name, 0..=u64::from(u32::MAX))?;
    Some(if millis == 0 { Duration::MAX } else { Duration::from_millis(millis) })
}

fn headers(env: &mut Env<'_>, name: &str) -> Option<Vec<(String, String)>> {
    let headers = env.secret_pairs(name)?;
    for (header, value) in &headers {
        if let Err(why) = check_header(header, value) {
            env.warn_secret(name, &format!("header {header:?} {why}"));
            return None;
        }
    }
    Some(headers)
}

/// The headers that the exporter sets itself, because the peer misreads the request without them.
const OWN_HEADERS: [&str; 6] =
    ["content-type", "content-encoding", "content-length", "transfer-encoding", "host", "connection"];

/// Whether a header can be sent. Source: RFC 9110, sections 5.1 and 5.5.
pub(crate) fn check_header(name: &str, value: &str) -> Result<(), &'static str> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err("is not a header name");
    }
    if OWN_HEADERS.iter().any(|own| name.eq_ignore_ascii_case(own)) {
        return Err("is set by the exporter itself");
    }
    if !value.bytes().all(|byte| byte == b'\t' || (b' '..0x7f).contains(&byte)) {
        return Err("has a value that is not printable ASCII");
    }
    Ok(())
}

impl fmt::Debug for OtlpSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("OtlpSettings")
            .field("endpoint", &self.endpoint)
            .field("headers", &names)
            .field("timeout", &self.timeout)
            .field("compression", &self.compression)
            .finish()
    }
}
