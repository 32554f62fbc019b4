//! The facade: a profiler with a `tracing` layer, and the one-line start.

use crate::{Error, ErrorKind, ProfileLayer, ProfilerBuilder, Result, logging};
use profile_core::profiler as core;
use std::ops::Deref;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;

/// A running profiler. Dropping it shuts it down.
///
/// Everything a profiler can do besides making a [`layer`](Self::layer) is on
/// [the core's profiler](profile_core::profiler::Profiler), which this dereferences to: `collect`, `force_flush`,
/// `shutdown`, `report`, `status`, `stats`.
#[derive(Debug)]
#[must_use = "a profiler that is dropped stops profiling"]
pub struct Profiler(core::Profiler);

impl Profiler {
    /// A builder; its values win over `OTEL_*` and `PROFILE_*` variables, which win over the defaults.
    pub fn builder() -> ProfilerBuilder<Self> {
        logging::install();
        ProfilerBuilder::new()
    }

    /// A layer for one subscriber. Put it after the `tracing-opentelemetry` layer.
    #[must_use]
    pub fn layer(&self) -> ProfileLayer {
        ProfileLayer::new(self.0.span_tracker())
    }
}

impl From<core::Profiler> for Profiler {
    fn from(profiler: core::Profiler) -> Self {
        Self(profiler)
    }
}

impl Deref for Profiler {
    type Target = core::Profiler;

    fn deref(&self) -> &core::Profiler {
        &self.0
    }
}

/// Profiles the program with everything at its default, and prints a report when the returned profiler is dropped at the
/// end of `main`. Installs a `tracing` subscriber that only profiles, by spans of the level `INFO` and
/// less verbose ones.
///
/// # Errors
/// As [`ProfilerBuilder::build`]; and when the program has set a global `tracing` subscriber already: then add
/// [`Profiler::layer`] to that one.
pub fn init() -> Result<Profiler> {
    let profiler = Profiler::builder().with_report_on_exit().build()?;
    let subscriber = tracing_subscriber::registry().with(LevelFilter::INFO).with(profiler.layer());
    tracing::subscriber::set_global_default(subscriber).map_err(|cause| {
        let what = "a global tracing subscriber is set already; add Profiler::layer to it";
        Error::new(ErrorKind::Config, what).because(cause)
    })?;
    Ok(profiler)
}
