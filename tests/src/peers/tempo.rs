//! Tempo, single binary, all of it on loopback, with local storage.

use super::{Peer, accepts, free_ports, loopback, program_from_env, start_with_retry, temp_dir};
use crate::Result;
use crate::http;
use serde_json::Value;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A running Tempo.
#[derive(Debug)]
pub struct Tempo {
    #[expect(dead_code, reason = "keeps the process running")]
    peer: Peer,
    http: SocketAddr,
    otlp: SocketAddr,
}

impl Tempo {
    /// Starts the program that `TEMPO_BIN` names, or a visible skip of `test`.
    ///
    /// # Errors
    ///
    /// It does not start or is not ready within two minutes.
    pub fn start(test: &str) -> Result<Option<Self>> {
        let Some(program) = program_from_env(test, "TEMPO_BIN") else { return Ok(None) };
        start_with_retry(|| Self::run(&program)).map(Some)
    }

    /// The OTLP/HTTP receiver (`/v1/traces`).
    #[must_use]
    pub const fn otlp(&self) -> SocketAddr {
        self.otlp
    }

    /// The trace with this id (32 hex digits) as Tempo's JSON, at once after it was sent; `None` if there is none.
    ///
    /// # Errors
    ///
    /// The query fails.
    pub fn trace(&self, trace_id: &str) -> Result<Option<Value>> {
        let answer = http::get(self.http, &format!("/api/v2/traces/{trace_id}"))?;
        if answer.status == 404 {
            return Ok(None);
        }
        let found: Value = serde_json::from_slice(&answer.ok()?.body)?;
        let spans =
            found["trace"]["resourceSpans"].as_array().or_else(|| found["trace"]["batches"].as_array());
        Ok(spans.is_some_and(|spans| !spans.is_empty()).then_some(found))
    }

    /// The traces that match a `TraceQL` query. They are found about 30 s after they were sent; Tempo prints their ids
    /// without leading zeros.
    ///
    /// # Errors
    ///
    /// The query fails.
    pub fn search(&self, traceql: &str) -> Result<Vec<Value>> {
        let answer = http::get(self.http, &format!("/api/search?q={}", percent_encoded(traceql)))?.ok()?;
        let found: Value = serde_json::from_slice(&answer.body)?;
        Ok(found["traces"].as_array().cloned().unwrap_or_default())
    }

    fn run(program: &Path) -> Result<Self> {
        let [http, grpc, members, otlp] = free_ports()?;
        let dir = temp_dir("tempo")?;
        fs::write(dir.path().join("config.yaml"), config(http, grpc, members, otlp))?;
        let mut command = Command::new(program);
        command.arg("-config.file=config.yaml");
        let mut peer = Peer::start("Tempo", command, dir)?;
        let (http, otlp) = (loopback(http), loopback(otlp));
        peer.wait_until(Duration::from_secs(120), || {
            http::get(http, "/ready").is_ok_and(|answer| answer.status == 200) && accepts(otlp)
        })?;
        Ok(Self { peer, http, otlp })
    }
}

fn config(http: u16, grpc: u16, members: u16, otlp: u16) -> String {
    format!(
        "server:
  http_listen_address: 127.0.0.1
  http_listen_port: {http}
  grpc_listen_address: 127.0.0.1
  grpc_listen_port: {grpc}
memberlist:
  bind_addr: [127.0.0.1]
  advertise_addr: 127.0.0.1
  bind_port: {members}
  advertise_port: {members}
distributor:
  receivers:
    otlp:
      protocols:
        http:
          endpoint: 127.0.0.1:{otlp}
storage:
  trace:
    backend: local
    wal:
      path: wal
    local:
      path: blocks
usage_report:
  reporting_enabled: false
"
    )
}

fn percent_encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_percent_encoded() {
        assert_eq!(percent_encoded("{ a=\"ü\" }"), "%7B%20a%3D%22%C3%BC%22%20%7D");
    }
}
