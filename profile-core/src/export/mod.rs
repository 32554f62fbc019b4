//! From a finished profile to where it is wanted.
//!
//! ```text
//!                                    ┌─ queue ─ worker ─ retry ─ OtlpHttpExporter ──► a collector
//!  collector ─ BatchProfileProcessor ┼─ queue ─ worker ─ retry ─ FileExporter ──────► a directory
//!             (never blocks)         ├─ queue ─ worker ─ retry ─ OtlpGrpcExporter ──► a collector
//!                                    └─ queue ─ worker ─ retry ─ your exporter
//! ```
//!
//! Each exporter has a bounded queue and a thread of its own, so that a slow or dead destination delays neither the
//! others nor the collector: it only loses its own oldest profiles, and every loss is counted with its reason in
//! [`Stats`](crate::stats::Stats). Profiles are shared between the queues, not copied. An exporter makes *one*
//! attempt at a time; when to try again is decided in one place, [`RetryPolicy`].

#[cfg(any(feature = "otlp-http", feature = "grpc"))]
mod answer;
mod batch;
#[cfg_attr(
    not(any(feature = "otlp-http", feature = "grpc")),
    allow(dead_code, reason = "checked, but nothing is sent")
)]
mod compression;
#[cfg_attr(
    not(any(feature = "otlp-http", feature = "grpc")),
    allow(dead_code, reason = "checked, but nothing is sent")
)]
mod endpoint;
mod error;
mod file;
#[cfg_attr(
    not(any(feature = "otlp-http", feature = "grpc")),
    allow(dead_code, reason = "checked, but nothing is sent")
)]
mod headers;
#[cfg(feature = "otlp-http")]
mod json;
#[cfg(feature = "grpc")]
mod otlp_grpc;
#[cfg(feature = "otlp-http")]
mod otlp_http;
#[cfg(any(feature = "otlp-http", feature = "grpc"))]
mod otlp_options;
mod otlp_settings;
#[cfg(feature = "pyroscope")]
mod pyroscope;
mod queue;
mod retry;
#[cfg(any(feature = "otlp-http", feature = "grpc"))]
mod retry_after;
mod spool;
mod tls;
mod worker;

#[cfg(any(feature = "otlp-http", feature = "grpc"))]
pub use answer::Encoding;
pub use batch::{
    BatchProfileProcessor, BatchProfileProcessorBuilder, DEFAULT_BATCH_SIZE, DEFAULT_BATCH_TIMEOUT,
    DEFAULT_MAX_QUEUE_SIZE, DEFAULT_SHUTDOWN_TIMEOUT,
};
pub use compression::Compression;
pub use error::{ExportError, ExportErrorKind, ExportReceipt};
pub use file::{DEFAULT_DIRECTORY, FileExporter, FileExporterBuilder, FileFormat, FileMode};
#[cfg(feature = "grpc")]
pub use otlp_grpc::{OtlpGrpcExporter, OtlpGrpcExporterBuilder};
#[cfg(feature = "otlp-http")]
pub use otlp_http::{OtlpHttpExporter, OtlpHttpExporterBuilder};
pub use otlp_settings::{
    DEFAULT_OTLP_GRPC_ENDPOINT, DEFAULT_OTLP_HTTP_ENDPOINT, DEFAULT_OTLP_TIMEOUT, OtlpSettings,
    PROFILES_PATH, Protocol,
};
#[cfg(feature = "pyroscope")]
pub use pyroscope::{
    DEFAULT_PYROSCOPE_ENDPOINT, PyroscopeExporter, PyroscopeExporterBuilder, PyroscopeSettings,
};
pub use retry::RetryPolicy;
pub use spool::DEFAULT_SPOOL_BYTES;
pub(crate) use spool::check_directory;

use crate::error::Result;
use crate::profile::{Profile, ProfileBatch};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Takes finished profiles from the collector.
pub trait ProfileProcessor: Send + Sync {
    /// Takes one profile; one without samples is ignored. Must not block: it is called on the collector's thread.
    fn on_profile(&self, profile: Arc<Profile>);

    /// Delivers everything taken so far, and waits for it until `timeout` is over.
    ///
    /// # Errors
    /// [`Deadline`](crate::error::ErrorKind::Deadline) if it did not finish in time (it goes on in the background),
    /// [`Export`](crate::error::ErrorKind::Export) if profiles were lost, and
    /// [`Stopped`](crate::error::ErrorKind::Stopped) after [`shutdown`](Self::shutdown).
    fn force_flush(&self, timeout: Duration) -> Result<()>;

    /// Delivers what is left and stops, in `timeout` at most; later profiles are dropped. Again is a no-op.
    ///
    /// # Errors
    /// As [`force_flush`](Self::force_flush), except that what is not delivered in time is dropped.
    fn shutdown(&self, timeout: Duration) -> Result<()>;
}

/// Delivers batches of profiles to one destination.
///
/// Called by one thread at a time. A panic is caught and counted, and costs the batch.
pub trait ProfileExporter: Send {
    /// What this is and where it sends to, such as `otlp http://localhost:4318/v1development/profiles`: used in
    /// messages and statistics, and to notice that the environment names a destination that the program has added
    /// already. Must not hold secrets.
    fn name(&self) -> &str;

    /// Makes one attempt to deliver `batch`, which is never empty, and returns by `deadline`.
    ///
    /// # Errors
    /// What went wrong, and whether it is worth trying again.
    fn export(&mut self, batch: &ProfileBatch, deadline: Instant) -> Result<ExportReceipt, ExportError>;

    /// How large a batch the destination takes; larger ones come in parts. No limit by default.
    fn limits(&self) -> BatchLimits {
        BatchLimits::default()
    }

    /// Something that ends a running [`export`](Self::export) from another thread. It is used when a shutdown has
    /// reached its deadline; an exporter without one is left behind on its thread until it returns.
    fn interrupter(&self) -> Option<Interrupter> {
        None
    }

    /// Called once, after the last export.
    fn shutdown(&mut self) {}
}

/// How large a batch a destination takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Profiles of one batch.
    pub max_profiles: usize,
    /// Samples of all profiles together.
    pub max_samples: usize,
    /// Bytes as OTLP, and as uncompressed pprof.
    pub max_bytes: usize,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { max_profiles: usize::MAX, max_samples: usize::MAX, max_bytes: usize::MAX }
    }
}

/// Well below what peers take by default: Pyroscope 16 000 samples and 4 MiB of a profile, as pprof; gRPC servers 4 MiB
/// of a request, to which a collector may pass it on.
#[cfg(any(feature = "otlp-http", feature = "grpc"))]
pub(crate) const MAX_BATCH: BatchLimits =
    BatchLimits { max_profiles: usize::MAX, max_samples: 10_000, max_bytes: 2 << 20 };

/// Ends a running export from another thread; see [`ProfileExporter::interrupter`].
pub struct Interrupter(Box<dyn FnOnce() + Send>);

impl Interrupter {
    /// `interrupt` must return at once.
    #[must_use]
    pub fn new(interrupt: impl FnOnce() + Send + 'static) -> Self {
        Self(Box::new(interrupt))
    }

    fn interrupt(self) {
        (self.0)();
    }
}

impl fmt::Debug for Interrupter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Interrupter")
    }
}

/// The instant `timeout` from now; a timeout too long to add up means a year.
pub(crate) fn deadline_after(timeout: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    Instant::now() + timeout.min(YEAR)
}
