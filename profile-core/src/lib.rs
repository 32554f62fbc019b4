//! The pipeline of span-scoped profiling: one always-on sampler per process, every sample tagged with the span that
//! was current when it was taken.
//!
//! ```text
//!  span ──► context ──► sampler ──► ring ──► collector ──► symbolize ──► profile ──► encode ──► export
//!           (slot of    (handler:   (per      (windows,     (address →    (model:     (OTLP,     (batch,
//!            this        unwind)     thread)   aggregate)    function)     tables)     pprof)     wire)
//!            thread)
//!  ────────── the user's thread / signal handler ──────┤├─────────── threads of the profiler ──────────
//! ```
//!
//! At `┤├` data changes threads: the hand-over is bounded, and what does not fit is counted and shows up in the
//! exported profile. The modules below stand in order of flow; each uses only those above it.
//!
//! Most users want the crate `profile-layer`, which adds the `tracing` layer and `#[profiled]`.

pub mod collector;
pub mod config;
pub mod context;
pub mod diag;
pub mod encode;
pub mod error;
pub mod export;
pub mod modules;
pub mod profile;
pub mod resource;
pub mod stats;
pub mod symbolize;
pub mod unwind;
