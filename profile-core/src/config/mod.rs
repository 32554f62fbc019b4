//! What the environment says: read once, by a pure function over a lookup, into one plain value.
//!
//! | variable | meaning |
//! |---|---|
//! | `OTEL_SDK_DISABLED` | `true`: no profiler |
//! | `OTEL_PROFILES_EXPORTER` | where profiles go: `otlp`, `pyroscope`, `file`, `none`, or several with commas |
//! | `OTEL_EXPORTER_OTLP_[PROFILES_]PROTOCOL` | `http/protobuf` (the default), `http/json` or `grpc` |
//! | `OTEL_EXPORTER_OTLP_PROFILES_ENDPOINT` | over HTTP the URL that takes profiles, used as it is; over gRPC the server |
//! | `OTEL_EXPORTER_OTLP_ENDPOINT` | over HTTP a base URL, to which `/v1development/profiles` is appended; over gRPC the server |
//! | `OTEL_EXPORTER_OTLP_[PROFILES_]INSECURE` | `true`: a gRPC endpoint without a scheme is `http` instead of `https` |
//! | `OTEL_EXPORTER_OTLP_[PROFILES_]HEADERS` | `name=value,…`, percent-encoded |
//! | `OTEL_EXPORTER_OTLP_[PROFILES_]TIMEOUT` | of a request, in milliseconds; 10000 by default |
//! | `OTEL_EXPORTER_OTLP_[PROFILES_]COMPRESSION` | `none`, `gzip` or `zstd` |
//! | `OTEL_EXPORTER_OTLP_[PROFILES_]CERTIFICATE` | the PEM file of the roots to trust instead of the system's |
//! | `OTEL_EXPORTER_OTLP_[PROFILES_]CLIENT_CERTIFICATE`, `…CLIENT_KEY` | the PEM files to show to the server |
//! | `PYROSCOPE_SERVER_ADDRESS` | where the exporter `pyroscope` sends to; `http://localhost:4040` by default |
//! | `PYROSCOPE_BASIC_AUTH_USER`, `PYROSCOPE_BASIC_AUTH_PASSWORD` | who sends |
//! | `PYROSCOPE_TENANT_ID` | the tenant of a server that has several |
//! | `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES` | see [`Resource`] |
//! | `PROFILE_FREQUENCY` | samples a second of CPU time, 1 to 1000; 99 by default |
//! | `PROFILE_ENGINE` | `cpu-timer` (the default), `perf` or `auto`: see [`Engine`] |
//! | `PROFILE_WINDOW` | the length of a profile in seconds, 1 to 60; 10 by default |
//! | `PROFILE_SPOOL_DIRECTORY` | where profiles are kept on disk until they are delivered; nowhere by default |
//! | `PROFILE_DIRECTORY` | where the exporter `file` writes; `target/profile` by default |
//!
//! Nothing here fails: a value that is malformed or unknown is named in one warning and ignored. What the program sets
//! goes before what the environment sets, that of the profiles signal before the common one, and a default comes last.

pub(crate) mod env;
mod exporters;

pub use exporters::{ExporterKind, Exporters};

use crate::diag;
use crate::error::{Error, Result};
#[cfg(feature = "pyroscope")]
use crate::export::PyroscopeSettings;
use crate::export::{DEFAULT_SPOOL_BYTES, OtlpSettings, check_directory};
use crate::resource::{Resource, Value};
use crate::sampler::Engine;
use env::Env;
use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// Samples a second of CPU time: the default of `PROFILE_FREQUENCY`. Not 100, so as not to beat in time with timers.
pub const DEFAULT_FREQUENCY: u32 = 99;

/// The frequencies that can be asked for, in Hz.
pub const FREQUENCIES: RangeInclusive<u32> = 1..=1000;

/// The length of a window: the default of `PROFILE_WINDOW`. Grafana looks for the profiles of a span from 30 s before
/// to 30 s after it, so that a window must be well below that.
pub const DEFAULT_WINDOW: Duration = Duration::from_secs(10);

/// The settings that the environment holds. What it does not set is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Environment {
    /// The profiler is not to run at all.
    pub disabled: bool,
    /// The exporters it names; `Some` and empty for `none`.
    pub exporters: Option<Vec<ExporterKind>>,
    /// What it says about OTLP exporters.
    pub otlp: OtlpSettings,
    /// What it says about the Pyroscope exporter.
    #[cfg(feature = "pyroscope")]
    pub pyroscope: PyroscopeSettings,
    /// The resource attributes it sets.
    pub resource: Resource,
    /// Samples a second of CPU time, within [`FREQUENCIES`].
    pub frequency: Option<u32>,
    /// What decides when threads are sampled.
    pub engine: Option<Engine>,
    /// The length of a window.
    pub window: Option<Duration>,
    /// Where the exporter `file` writes.
    pub directory: Option<PathBuf>,
    /// Where profiles are kept until they are delivered.
    pub spool_directory: Option<PathBuf>,
    /// One sentence for each value that is ignored, without secrets.
    pub warnings: Vec<String>,
}

impl Environment {
    /// The environment of this process.
    #[must_use]
    pub fn of_process() -> Self {
        Self::read(|name| std::env::var_os(name))
    }

    /// The environment in which variable `name` has the value `lookup(name)`.
    #[must_use]
    pub fn read(lookup: impl Fn(&str) -> Option<OsString>) -> Self {
        let mut env = Env::new(&lookup);
        let frequencies = u64::from(*FREQUENCIES.start())..=u64::from(*FREQUENCIES.end());
        let frequency = env.number("PROFILE_FREQUENCY", frequencies);
        Self {
            disabled: env.boolean("OTEL_SDK_DISABLED"),
            exporters: exporters::read(&mut env),
            otlp: OtlpSettings::read(&mut env),
            #[cfg(feature = "pyroscope")]
            pyroscope: PyroscopeSettings::read(&mut env),
            resource: resource(&mut env),
            frequency: frequency.and_then(|hertz| u32::try_from(hertz).ok()),
            engine: env.value("PROFILE_ENGINE", str::to_owned, str::parse),
            window: env.number("PROFILE_WINDOW", 1..=60).map(Duration::from_secs),
            directory: env.raw("PROFILE_DIRECTORY").map(PathBuf::from),
            spool_directory: env.raw("PROFILE_SPOOL_DIRECTORY").map(PathBuf::from),
            warnings: env.into_warnings(),
        }
    }

    /// The spool that it asks for, with its bound in bytes; a directory that cannot be used is warned of and ignored.
    pub(crate) fn usable_spool(&self) -> Option<(PathBuf, u64)> {
        let directory = self.spool_directory.clone()?;
        if let Err(cause) = check_directory(&directory) {
            const NAME: &str = "PROFILE_SPOOL_DIRECTORY";
            diag::warn(NAME, format_args!("{NAME}: {directory:?} cannot be used ({cause}); ignored"));
            return None;
        }
        Some((directory, DEFAULT_SPOOL_BYTES))
    }

    /// Tells the developer what is ignored.
    pub fn report(&self) {
        for warning in &self.warnings {
            diag::warn(warning, format_args!("{warning}"));
        }
    }
}

/// `OTEL_SERVICE_NAME` goes before a `service.name` in `OTEL_RESOURCE_ATTRIBUTES`.
fn resource(env: &mut Env<'_>) -> Resource {
    let mut resource = Resource::empty();
    for (key, value) in env.pairs("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default() {
        resource.set(key, Value::String(value));
    }
    if let Some(name) = env.text("OTEL_SERVICE_NAME") {
        resource.set("service.name", Value::String(name));
    }
    resource
}

/// `frequency` in Hz if it can be asked for.
///
/// # Errors
/// [`Config`](crate::error::ErrorKind::Config) if it is outside [`FREQUENCIES`].
pub fn check_frequency(frequency: u32) -> Result<u32> {
    if FREQUENCIES.contains(&frequency) {
        return Ok(frequency);
    }
    Err(Error::config("frequency", &frequency.to_string(), "is not from 1 to 1000 Hz"))
}

#[cfg(test)]
#[cfg(not(loom))] // whose build has no dev-dependencies
mod tests;
