//! What the cross-crate tests share: real peers to talk to, and readers that owe nothing to the code under test.
//!
//! * [`peers`] starts a real OpenTelemetry Collector, Pyroscope or Tempo on loopback and runs profcheck and `go tool
//!   pprof`; a test that cannot have its peer says so through [`skip`](skip::skip).
//! * [`otlp_read`], [`pprof_read`] and [`collector_file`] read what the profiler wrote: OTLP by the messages of the
//!   crate `opentelemetry-proto`, pprof by a wire reader of this crate, and the Collector's own JSON.
//! * [`conformance`] holds OTLP bytes against every rule of the emit contract, [`join`] the profiles of a run against
//!   its traces.
//! * [`clock`] and [`child`] measure CPU time and run example programs; [`accuracy`] holds measurements against them.
//!
//! Everything returns [`Result`]; a test decides what is worth a panic.

pub mod accuracy;
pub mod child;
pub mod clock;
pub mod collector_file;
#[cfg(test)]
mod conformance_tests;
pub mod error;
pub mod fixture;
pub mod http;
pub mod join;
#[allow(unsafe_code)] // The one door to the operating system: CPU clocks and signals to our own children.
mod os;
pub mod otlp_read;
pub mod peers;
pub mod pprof_read;
pub mod view;

pub use error::{Error, Result};
pub use profile_test_support::{conformance, skip};

/// The examples in the documentation of `#[profiled]`.
#[cfg(doctest)]
#[doc = include_str!("../../profile-macros/src/profiled.md")]
pub struct Profiled;
