//! The pipeline of span-scoped profiling: one always-on sampler per process, every sample tagged with the span that
//! was current when it was taken.
//!
//! ```text
//!  span ──► context ──► sampler ──► ring ──► collector ──► symbolize ──► profile ──► encode ──► export
//!           (records,   (handler:   (per      (windows,     (address →    (model:     (OTLP,     (batch,
//!            paths)      unwind)     thread)   aggregate)    function)     tables)     pprof)     wire)
//!  ────────── the user's thread / signal handler ──────┤├─────────── threads of the profiler ──────────
//! ```
//!
//! At `┤├` data changes threads: the hand-over is bounded, and what does not fit is counted and shows up in the
//! exported profile.
//!
//! In order of flow, each module using only those before it: [`error`], `sync`, [`diag`], [`stats`], [`context`],
//! [`modules`], [`own`], `sys`, [`unwind`], [`ring`], `thread`, [`spans`], [`scope`], `sampler`, [`collector`],
//! [`symbolize`], [`profile`], [`resource`], [`encode`], [`export`], [`config`], [`profiler`].
//!
//! Most users want the crate `profile-layer`, which adds the `tracing` layer and `#[profiled]`.

mod closing;
pub mod collector;
pub mod config;
pub mod context;
pub mod diag;
pub mod encode;
pub mod error;
pub mod export;
mod history;
pub mod modules;
pub mod own;
pub mod profile;
pub mod profiler;
mod random;
pub mod resource;
pub mod ring;
mod sampler;
pub mod scope;
pub mod spans;
pub mod stats;
pub mod symbolize;
mod sync;
mod sys;
mod thread;
pub mod unwind;
