//! Pyroscope, single binary, all of it on loopback (2.2 or newer: earlier ones read another OTLP layout or cannot
//! select by trace).
//!
//! Every part that announces an address is told 127.0.0.1: left alone it announces the machine's other address, and
//! its own parts cannot reach each other.

use super::{Peer, free_ports, loopback, program_from_env, start_with_retry, temp_dir};
use crate::clock::unix_nanos;
use crate::error::Context as _;
use crate::http::{self, Response};
use crate::{Error, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

/// The profile type that Grafana's span button asks for.
pub const CPU_PROFILE: &str = "process_cpu:cpu:nanoseconds:cpu:nanoseconds";

/// A running Pyroscope.
#[derive(Debug)]
pub struct Pyroscope {
    #[expect(dead_code, reason = "keeps the process running")]
    peer: Peer,
    http: SocketAddr,
}

/// Which samples of a service a query asks for.
#[derive(Clone, Copy, Debug)]
pub enum Selector<'a> {
    /// All of them.
    All,
    /// Those with this label, such as `span_name`.
    Label(&'a str, &'a str),
    /// Those linked to this span (16 hex digits).
    Span(&'a str),
    /// Those linked to a span of this trace (32 hex digits).
    Trace(&'a str),
}

/// What a query returns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flamegraph {
    /// The sum of all samples, in the unit of the profile type.
    pub total: i64,
    /// What each function used itself, without its callees; functions with nothing of their own are there with 0.
    pub functions: BTreeMap<String, i64>,
}

impl Pyroscope {
    /// Starts the program that `PYROSCOPE_BIN` names, or a visible skip of `test`.
    ///
    /// # Errors
    ///
    /// It does not start or is not ready within two minutes.
    pub fn start(test: &str) -> Result<Option<Self>> {
        let Some(program) = program_from_env(test, "PYROSCOPE_BIN") else { return Ok(None) };
        start_with_retry(|| Self::run(&program)).map(Some)
    }

    /// The HTTP port: OTLP at `/v1development/profiles`, OTLP/gRPC (h2c), and the queries.
    #[must_use]
    pub const fn http(&self) -> SocketAddr {
        self.http
    }

    /// Sends a binary `ExportProfilesServiceRequest` and returns the answer, whatever its status.
    ///
    /// # Errors
    ///
    /// There is no answer.
    pub fn push_otlp(&self, request: &[u8]) -> Result<Response> {
        http::post(
            self.http,
            "/v1development/profiles",
            &[("Content-Type", "application/x-protobuf")],
            request,
        )
    }

    /// The merged profile of `service` over `time`, by the query that Grafana's span button makes.
    ///
    /// # Errors
    ///
    /// The query fails or its answer is not understood.
    pub fn query(
        &self,
        service: &str,
        profile_type: &str,
        time: Range<SystemTime>,
        selector: Selector<'_>,
    ) -> Result<Flamegraph> {
        let body = query(service, profile_type, &time, selector)?.to_string();
        let path = "/querier.v1.QuerierService/SelectMergeStacktraces";
        let answer =
            http::post(self.http, path, &[("Content-Type", "application/json")], body.as_bytes())?.ok()?;
        flamegraph(&serde_json::from_slice(&answer.body)?)
    }

    fn run(program: &Path) -> Result<Self> {
        let [http, grpc, members, raft] = free_ports()?;
        let mut command = Command::new(program);
        command.args(arguments(http, grpc, members, raft));
        let mut peer = Peer::start("Pyroscope", command, temp_dir("pyroscope")?)?;
        let http = loopback(http);
        peer.wait_until(Duration::from_secs(120), || {
            http::get(http, "/ready").is_ok_and(|answer| answer.status == 200)
        })?;
        Ok(Self { peer, http })
    }
}

fn arguments(http: u16, grpc: u16, members: u16, raft: u16) -> Vec<String> {
    let mut arguments: Vec<String> = [
        "-architecture.storage=v2",
        "-usage-stats.enabled=false",
        "-self-profiling.disable-push=true",
        "-symbolizer.enabled=false", // It would ask a public server.
        "-server.http-listen-address=127.0.0.1",
        "-server.grpc-listen-address=127.0.0.1",
        "-memberlist.bind-addr=127.0.0.1",
        "-memberlist.advertise-addr=127.0.0.1",
        "-distributor.ring.instance-addr=127.0.0.1",
        "-overrides-exporter.ring.instance-addr=127.0.0.1",
        "-query-frontend.instance-addr=127.0.0.1",
        "-query-scheduler.ring.instance-addr=127.0.0.1",
        "-segment-writer.lifecycler.addr=127.0.0.1",
        // Waits that are of use to a cluster only.
        "-metastore.min-ready-duration=0s",
        "-segment-writer.min-ready-duration=0s",
        "-storage.backend=filesystem",
        "-storage.filesystem.dir=data/shared",
        "-pyroscopedb.data-path=data/local",
    ]
    .map(String::from)
    .to_vec();
    arguments.extend([
        format!("-server.http-listen-port={http}"),
        format!("-server.grpc-listen-port={grpc}"),
        format!("-memberlist.bind-port={members}"),
        format!("-memberlist.advertise-port={members}"),
        format!("-metastore.address=127.0.0.1:{grpc}"),
        format!("-query-backend.address=127.0.0.1:{grpc}"),
        format!("-metastore.raft.server-id=127.0.0.1:{raft}"),
        format!("-metastore.raft.bind-address=127.0.0.1:{raft}"),
        format!("-metastore.raft.advertise-address=127.0.0.1:{raft}"),
    ]);
    arguments
}

fn query(
    service: &str,
    profile_type: &str,
    time: &Range<SystemTime>,
    selector: Selector<'_>,
) -> Result<Value> {
    let mut labels = format!("service_name={service:?}");
    if let Selector::Label(name, value) = selector {
        // Label names with dots must be quoted.
        labels.push_str(&format!(", {name:?}={value:?}"));
    }
    let mut query = json!({
        "profile_typeID": profile_type,
        "label_selector": format!("{{{labels}}}"),
        "start": unix_nanos(time.start)? / 1_000_000,
        "end": unix_nanos(time.end)? / 1_000_000,
    });
    match selector {
        Selector::Span(id) => query["span_selector"] = json!([id]),
        Selector::Trace(id) => query["trace_id_selector"] = json!([id]),
        Selector::All | Selector::Label(..) => {}
    }
    Ok(query)
}

/// Each level is a list of bars of four numbers: offset, total, self, index of the name.
fn flamegraph(answer: &Value) -> Result<Flamegraph> {
    let graph = &answer["flamegraph"];
    let names: Vec<&str> = array(&graph["names"]).iter().filter_map(Value::as_str).collect();
    let mut found = Flamegraph { total: number(&graph["total"])?, functions: BTreeMap::new() };
    for level in array(&graph["levels"]) {
        let values = array(&level["values"]).iter().map(number).collect::<Result<Vec<i64>>>()?;
        for bar in values.chunks_exact(4) {
            let name = usize::try_from(bar[3]).ok().and_then(|index| names.get(index));
            let name = name.context(format_args!("a bar without a name: {bar:?}"))?;
            if *name != "total" {
                *found.functions.entry((*name).to_owned()).or_default() += bar[2];
            }
        }
    }
    Ok(found)
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A 64-bit number, which protobuf's JSON writes as a string, and leaves out if it is 0.
fn number(value: &Value) -> Result<i64> {
    match value {
        Value::Null => Ok(0),
        Value::Number(number) => number.as_i64().context("not a 64-bit integer"),
        Value::String(text) => text.parse().context(format_args!("{text:?}")),
        other => Err(Error::new(format!("not a number: {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_of_one_function_add_up() {
        let answer = json!({"flamegraph": {
            "names": ["total", "main", "work"],
            "levels": [
                {"values": ["0", "500", "0", "0"]},
                {"values": ["0", "500", "0", "1"]},
                {"values": ["0", "300", "300", "2", "0", "200", "200", "2"]},
            ],
            "total": "500", "maxSelf": "300",
        }});
        let found = flamegraph(&answer).unwrap();
        assert_eq!(found.total, 500);
        assert_eq!(found.functions, BTreeMap::from([("main".into(), 0), ("work".into(), 500)]));
        assert_eq!(flamegraph(&json!({"flamegraph": {}})).unwrap(), Flamegraph::default());
    }

    #[test]
    fn selectors_become_the_fields_that_the_server_reads() {
        let time = SystemTime::UNIX_EPOCH..SystemTime::UNIX_EPOCH + Duration::from_secs(2);
        let of = |selector| query("shop", CPU_PROFILE, &time, selector).unwrap();
        assert_eq!(of(Selector::All)["label_selector"], r#"{service_name="shop"}"#);
        assert_eq!(
            of(Selector::Label("span_name", "a b"))["label_selector"],
            r#"{service_name="shop", "span_name"="a b"}"#
        );
        assert_eq!(of(Selector::Span("00000000000000a1"))["span_selector"], json!(["00000000000000a1"]));
        assert!(of(Selector::Trace("1"))["trace_id_selector"].is_array());
        assert_eq!(of(Selector::All)["end"], 2000);
    }
}
