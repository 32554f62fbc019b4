//! What can be set about an OTLP exporter, whatever its transport, and the variables that set it.
//!
//! The OpenTelemetry specification names no variables of the profiles signal yet; these follow the pattern of the other
//! signals, as other profilers do: `OTEL_EXPORTER_OTLP_PROFILES_<X>` first, then `OTEL_EXPORTER_OTLP_<X>`.
//! Source: <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>.

use super::compression::Compression;
use super::endpoint::{GivenEndpoint, Transport, shown};
use super::headers::{Headers, shown_name};
use super::tls::Tls;
use crate::config::env::Env;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The base URL of an OTLP/HTTP exporter that is told none.
pub const DEFAULT_OTLP_HTTP_ENDPOINT: &str = "http://localhost:4318";

/// The server of an OTLP/gRPC exporter that is told none.
pub const DEFAULT_OTLP_GRPC_ENDPOINT: &str = "http://localhost:4317";

/// How long one request may take: the default of `OTEL_EXPORTER_OTLP_TIMEOUT`.
pub const DEFAULT_OTLP_TIMEOUT: Duration = Duration::from_secs(10);

/// The path of the profiles signal, appended to a base URL.
pub const PROFILES_PATH: &str = "/v1development/profiles";

/// How OTLP travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// `http/protobuf`: protobuf over HTTP. The feature `otlp-http`.
    HttpProtobuf,
    /// `http/json`: JSON over HTTP, for receivers that read nothing else. The feature `otlp-http`.
    HttpJson,
    /// `grpc`: protobuf over gRPC. The feature `grpc`.
    Grpc,
}

/// What the environment sets about OTLP exporters. What it does not set, or sets to something malformed, is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OtlpSettings {
    pub(crate) protocol: Option<Protocol>,
    pub(crate) endpoint: Option<GivenEndpoint>,
    pub(crate) headers: Headers,
    pub(crate) timeout: Option<Duration>,
    pub(crate) compression: Option<Compression>,
    pub(crate) tls: Tls,
}

impl Protocol {
    /// The protocol that the environment need not name: `http/protobuf`, or `grpc` in a build without HTTP.
    pub(crate) const fn default_of_build() -> Self {
        if cfg!(feature = "grpc") && cfg!(not(feature = "otlp-http")) {
            Self::Grpc
        } else {
            Self::HttpProtobuf
        }
    }

    fn parse(name: &str) -> Result<Self, &'static str> {
        match name {
            "http/protobuf" | "http/json" if cfg!(not(feature = "otlp-http")) => {
                Err("is not built in: enable the feature otlp-http")
            }
            "http/protobuf" => Ok(Self::HttpProtobuf),
            "http/json" => Ok(Self::HttpJson),
            "grpc" if cfg!(not(feature = "grpc")) => Err("is not built in: enable the feature grpc"),
            "grpc" => Ok(Self::Grpc),
            _ => Err("is not one of: http/protobuf, http/json, grpc"),
        }
    }

    const fn transport(self) -> Transport {
        match self {
            Self::HttpProtobuf | Self::HttpJson => Transport::Http,
            Self::Grpc => Transport::Grpc,
        }
    }
}

impl OtlpSettings {
    /// Whether the environment says where to send profiles.
    #[must_use]
    pub const fn has_endpoint(&self) -> bool {
        self.endpoint.is_some()
    }

    pub(crate) fn read(env: &mut Env<'_>) -> Self {
        let protocol = first(env, "PROTOCOL", |env, name| env.value(name, str::to_owned, Protocol::parse));
        let transport = protocol.unwrap_or(Protocol::default_of_build()).transport();
        let insecure = first(env, "INSECURE", |env, name| env.flag(name)).unwrap_or(false);
        let endpoint = first(env, "ENDPOINT", |env, name| {
            let is_whole = name.contains("PROFILES");
            env.value(name, shown, |text| {
                let given = GivenEndpoint { is_whole, insecure, text: text.to_owned() };
                given.resolve(transport).map(|_| given)
            })
        });
        Self {
            protocol,
            endpoint,
            headers: first(env, "HEADERS", headers).unwrap_or_default(),
            timeout: first(env, "TIMEOUT", timeout),
            compression: first(env, "COMPRESSION", |env, name| {
                env.value(name, str::to_owned, Compression::parse)
            }),
            tls: tls(env),
        }
    }
}

/// What the first variable of a setting, that of the profiles signal before the common one, has for `read`.
fn first<T>(
    env: &mut Env<'_>,
    setting: &str,
    mut read: impl FnMut(&mut Env<'_>, &str) -> Option<T>,
) -> Option<T> {
    let prefixes = ["OTEL_EXPORTER_OTLP_PROFILES_", "OTEL_EXPORTER_OTLP_"];
    prefixes.iter().find_map(|prefix| read(env, &format!("{prefix}{setting}")))
}

/// In milliseconds; 0 is no limit, as the specification has it, so that only the retry policy limits an attempt.
fn timeout(env: &mut Env<'_>, name: &str) -> Option<Duration> {
    let millis = env.number(name, 0..=u64::from(u32::MAX))?;
    Some(if millis == 0 { Duration::MAX } else { Duration::from_millis(millis) })
}

fn headers(env: &mut Env<'_>, name: &str) -> Option<Headers> {
    let headers: Headers = env.secret_pairs(name)?.into_iter().collect();
    for (header, value) in headers.iter() {
        if let Err(why) = Headers::check(header, value) {
            env.warn_secret(name, &format!("header {:?} {why}", shown_name(header)));
            return None;
        }
    }
    Some(headers)
}

/// The certificates and the key that can be used.
fn tls(env: &mut Env<'_>) -> Tls {
    let path = |env: &mut Env<'_>, name: &str| env.raw(name).map(PathBuf::from);
    let checked =
        |env: &mut Env<'_>, name: &str, path: &Path, read: &dyn Fn(&mut Tls) -> Result<(), String>| {
            let mut tls = Tls::default();
            read(&mut tls).map_err(|why| env.warn(name, &path.to_string_lossy(), &why)).ok()?;
            Some(tls)
        };
    let roots = first(env, "CERTIFICATE", |env, name| {
        let file = path(env, name)?;
        checked(env, name, &file, &|tls| tls.trust(&file))
    });
    let key = first(env, "CLIENT_KEY", |env, name| Some((name.to_owned(), path(env, name)?)));
    let mut used = false;
    let identity = first(env, "CLIENT_CERTIFICATE", |env, name| {
        let file = path(env, name)?;
        used = true;
        checked(env, name, &file, &|tls| match &key {
            Some((_, key)) => tls.identify(&file, key).map_err(|why| format!("and the key {key:?} {why}")),
            None => Err("is of no use without a CLIENT_KEY".to_owned()),
        })
    });
    if let Some((name, key)) = key.filter(|_| !used) {
        env.warn(&name, &key.to_string_lossy(), "is of no use without a CLIENT_CERTIFICATE");
    }
    roots.unwrap_or_default().or(identity.unwrap_or_default())
}
