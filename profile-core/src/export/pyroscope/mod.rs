//! Pyroscope's own protocol: a pprof profile with the labels of its series, pushed by the Connect protocol.
//! Sources: <https://connectrpc.com/docs/protocol> and github.com/grafana/pyroscope, `api/push/v1/push.proto`.
//!
//! Pyroscope takes OTLP as well. Its own protocol has the canonical names of profile types, works with versions that do
//! not know this layout of OTLP, and is what Grafana Cloud's profiles endpoint documents. The samples' labels `span_id`
//! and `trace_id` lead from a span to its samples as OTLP's links do.
//!
//! One profile a request: the server stores what it can of a request and then refuses all of it, so that a request of
//! several could neither be tried again nor counted. The profile is compressed, the request around it is not.

mod builder;
mod labels;
mod settings;

pub use builder::PyroscopeExporterBuilder;
pub use settings::{DEFAULT_PYROSCOPE_ENDPOINT, PyroscopeSettings};

use super::error::{ExportError, ExportReceipt};
use super::otlp_http::OtlpHttpExporter;
use super::{BatchLimits, Interrupter, MAX_BATCH, ProfileExporter};
use crate::error::Result;
use crate::profile::ProfileBatch;
use profile_proto::push::v1::{PushRequest, RawProfileSeries, RawSample};
use prost::Message;
use std::fmt;
use std::time::Instant;

/// Sends profiles to Pyroscope by its push API.
pub struct PyroscopeExporter {
    name: String,
    /// Sends requests; of OTLP it needs no more than how HTTP is to be used.
    http: OtlpHttpExporter,
}

/// The procedure's path, appended to the server's address.
const PUSH_PATH: &str = "/push.v1.PusherService/Push";

const CONTENT_TYPE: &str = "application/proto";

const ONE_PROFILE: BatchLimits = BatchLimits { max_profiles: 1, ..MAX_BATCH };

impl PyroscopeExporter {
    /// An exporter as the environment configures it, to be configured further.
    #[must_use]
    pub fn builder() -> PyroscopeExporterBuilder {
        PyroscopeExporterBuilder::default()
    }
}

impl ProfileExporter for PyroscopeExporter {
    fn name(&self) -> &str {
        &self.name
    }

    fn export(&mut self, batch: &ProfileBatch, deadline: Instant) -> Result<ExportReceipt, ExportError> {
        let sample = RawSample { raw_profile: batch.to_pprof(), id: String::new() };
        let series = RawProfileSeries { labels: labels::of(batch.resource()), samples: vec![sample] };
        let body = PushRequest { series: vec![series] }.encode_to_vec();
        let answer = self.http.send(CONTENT_TYPE, None, &body, deadline)?;
        let receipt = ExportReceipt::new(body.len() as u64);
        if answer.content_type.split(';').next().is_some_and(|kind| kind.trim() == CONTENT_TYPE) {
            return Ok(receipt);
        }
        let content_type = &answer.content_type;
        let why = format!("the answer is of type \"{content_type}\": is this Pyroscope?");
        Ok(receipt.with_message(self.http.redacted(why)))
    }

    fn limits(&self) -> BatchLimits {
        ONE_PROFILE
    }

    fn interrupter(&self) -> Option<Interrupter> {
        self.http.interrupter()
    }
}

impl fmt::Debug for PyroscopeExporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PyroscopeExporter").field("http", &self.http).finish_non_exhaustive()
    }
}
