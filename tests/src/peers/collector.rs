//! A real OpenTelemetry Collector: OTLP receivers on loopback, pipelines for profiles and traces into files.
//!
//! The program is our own small main over the Collector's released libraries (`tests/backends/collector`, versions
//! pinned by its `go.sum`). It is built once into the target directory; the name of the program holds a hash of its
//! sources, so a change builds a new one.

use super::{Go, Peer, accepts, free_ports, loopback, start_with_retry, temp_dir};
use crate::collector_file::{self, Span};
use crate::conformance::{self, Violation};
use crate::error::Context as _;
use crate::otlp_read::ProfileView;
use crate::{Error, Result};
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const PROFILES: &str = "profiles.json";
const TRACES: &str = "traces.json";

/// A running Collector.
#[derive(Debug)]
pub struct Collector {
    peer: Peer,
    http: SocketAddr,
    grpc: SocketAddr,
}

/// What a Collector has written to its files.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// Every profile, in order of arrival.
    pub profiles: Vec<ProfileView>,
    /// Every span, in order of arrival.
    pub spans: Vec<Span>,
}

impl Collector {
    /// Starts a Collector that writes what it receives to files; without Go a visible skip of `test`.
    ///
    /// # Errors
    ///
    /// Go is there, and the Collector does not build or start.
    pub fn start(test: &str) -> Result<Option<Self>> {
        Self::start_forwarding(test, None)
    }

    /// As [`Collector::start`]; profiles are also sent on to the OTLP/HTTP server at `forward`.
    ///
    /// # Errors
    ///
    /// As [`Collector::start`].
    pub fn start_forwarding(test: &str, forward: Option<SocketAddr>) -> Result<Option<Self>> {
        let Some(go) = Go::find(test) else { return Ok(None) };
        let program = built(&go)?;
        start_with_retry(|| Self::run(&program, forward)).map(Some)
    }

    /// The OTLP/HTTP receiver: `/v1development/profiles`, `/v1/traces`.
    #[must_use]
    pub const fn http(&self) -> SocketAddr {
        self.http
    }

    /// The OTLP/gRPC receiver.
    #[must_use]
    pub const fn grpc(&self) -> SocketAddr {
        self.grpc
    }

    /// The OTLP/HTTP receiver's base address, as `OTEL_EXPORTER_OTLP_ENDPOINT` wants it.
    #[must_use]
    pub fn http_endpoint(&self) -> String {
        format!("http://{}", self.http)
    }

    /// Stops the Collector, so that everything it took is on disk, and reads its files.
    ///
    /// # Errors
    ///
    /// It did not stop, its files cannot be read, or a profile in them breaks a rule of [`conformance`].
    pub fn finish(mut self) -> Result<Received> {
        self.peer.stop()?;
        let read = |name: &str| fs::read_to_string(self.peer.dir().join(name)).context(name);
        let profiles = read(PROFILES)?;
        for request in collector_file::requests(&profiles).context(PROFILES)? {
            let mut violations = conformance::check(&request);
            violations.retain(|Violation { rule, place, .. }| match *rule {
                // The file exporter puts keys and texts of resources and scopes into the table of strings,
                "plain-attributes" => false,
                // and writes a value that is not there as `{}`.
                "zero-entry" => place != "attribute_table",
                _ => true,
            });
            let lines: Vec<String> = violations.iter().map(ToString::to_string).collect();
            if !lines.is_empty() {
                return Err(Error::new(format!(
                    "{PROFILES}: not as receivers want it: {}",
                    lines.join("; ")
                )));
            }
        }
        Ok(Received {
            profiles: collector_file::profiles(&profiles).context(PROFILES)?,
            spans: collector_file::spans(&read(TRACES)?).context(TRACES)?,
        })
    }

    fn run(program: &Path, forward: Option<SocketAddr>) -> Result<Self> {
        let dir = temp_dir("collector")?;
        let [http, grpc] = free_ports()?.map(loopback);
        fs::write(dir.path().join("config.yaml"), config(http, grpc, forward))?;
        let mut command = Command::new(program);
        command.args(["--config", "config.yaml", "--feature-gates=service.profilesSupport"]);
        let mut peer = Peer::start("the Collector", command, dir)?;
        peer.wait_until(Duration::from_secs(30), || accepts(http) && accepts(grpc))?;
        Ok(Self { peer, http, grpc })
    }
}

fn config(http: SocketAddr, grpc: SocketAddr, forward: Option<SocketAddr>) -> String {
    let (forwarder, to_forwarder) = match forward {
        Some(address) => (
            format!(
                "  otlp_http:\n    endpoint: http://{address}\n    sending_queue:\n      enabled: false\n"
            ),
            ", otlp_http",
        ),
        None => (String::new(), ""),
    };
    format!(
        "receivers:
  otlp:
    protocols:
      grpc:
        endpoint: {grpc}
      http:
        endpoint: {http}
exporters:
  file/profiles:
    path: {PROFILES}
    flush_interval: 100ms
  file/traces:
    path: {TRACES}
    flush_interval: 100ms
{forwarder}service:
  telemetry:
    metrics:
      level: none
  pipelines:
    profiles:
      receivers: [otlp]
      exporters: [file/profiles{to_forwarder}]
    traces:
      receivers: [otlp]
      exporters: [file/traces]
"
    )
}

/// The Collector's program, built if no program of the same sources is there.
fn built(go: &Go) -> Result<PathBuf> {
    static BUILD: Mutex<()> = Mutex::new(());
    let _one_at_a_time = BUILD.lock().unwrap_or_else(PoisonError::into_inner);

    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("backends/collector");
    let target = target_dir();
    let program = target.join(format!("collector-{:016x}", source_hash(&module)?));
    if !program.exists() {
        // Another process may do the same: each builds a file of its own, and the last rename wins.
        let unfinished = target.join(format!("collector-{}.unfinished", std::process::id()));
        go.build(&module, &unfinished).context("the Collector")?;
        fs::rename(&unfinished, &program)?;
    }
    Ok(program)
}

fn source_hash(module: &Path) -> Result<u64> {
    let mut hasher = DefaultHasher::new();
    for file in ["go.mod", "go.sum", "main.go"] {
        fs::read(module.join(file)).context(file)?.hash(&mut hasher);
    }
    Ok(hasher.finish())
}

/// Cargo's target directory: the folder above the running test that Cargo has marked as a cache.
fn target_dir() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    let marked = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists());
    marked.map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), Path::to_path_buf)
}
