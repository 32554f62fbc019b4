//! Which exporters run: those that the program adds, and those that the environment names.

use super::Environment;
use super::env::Env;
use crate::diag;
use crate::error::Result;
use crate::export::{DEFAULT_DIRECTORY, FileExporter, ProfileExporter, Protocol};
use std::path::Path;

/// An exporter that the environment can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExporterKind {
    /// `otlp`: OTLP, over what `OTEL_EXPORTER_OTLP_PROTOCOL` names.
    Otlp,
    /// `pyroscope`: Pyroscope's push API.
    Pyroscope,
    /// `file`: files in a directory.
    File,
}

/// The exporters to run.
#[derive(Default)]
#[non_exhaustive]
pub struct Exporters {
    /// Those of the program, then those of the environment.
    pub exporters: Vec<Box<dyn ProfileExporter>>,
    /// Exporters of the environment that could not be made, one sentence for each.
    pub warnings: Vec<String>,
    /// Says so if there are none, and nobody asked for none.
    pub notice: Option<&'static str>,
}

const NOTICE: &str = "profiles are collected but go nowhere, since no exporter is configured: add one in the program, \
                      or set OTEL_EXPORTER_OTLP_ENDPOINT, or OTEL_PROFILES_EXPORTER=file";

/// Whether OTLP can be sent in any way.
const HAS_OTLP: bool = cfg!(any(feature = "otlp-http", feature = "grpc"));

/// `OTEL_PROFILES_EXPORTER`. A list of which nothing can be used is ignored as a whole.
pub(super) fn read(env: &mut Env<'_>) -> Option<Vec<ExporterKind>> {
    const NAME: &str = "OTEL_PROFILES_EXPORTER";
    let names = env.list(NAME);
    let mut kinds = Vec::new();
    for name in &names {
        match name.as_str() {
            "otlp" if HAS_OTLP => kinds.push(ExporterKind::Otlp),
            "pyroscope" if cfg!(feature = "pyroscope") => kinds.push(ExporterKind::Pyroscope),
            "file" => kinds.push(ExporterKind::File),
            "none" if names.len() == 1 => return Some(kinds),
            "none" => env.warn(NAME, name, "stands beside other names"),
            "otlp" => env.warn(NAME, name, "is not built in: enable the feature otlp-http or grpc"),
            "pyroscope" => env.warn(NAME, name, "is not built in: enable the feature pyroscope"),
            "console" => env.warn(NAME, name, "is not supported yet"),
            _ => env.warn(NAME, name, "is not one of: otlp, pyroscope, file, none"),
        }
    }
    let mut seen = Vec::new();
    kinds.retain(|kind| {
        !seen.contains(kind) && {
            seen.push(*kind);
            true
        }
    });
    Some(kinds).filter(|kinds| !kinds.is_empty())
}

impl Environment {
    /// The exporters that the environment names: those of `OTEL_PROFILES_EXPORTER`; or else OTLP, if it says where
    /// OTLP data goes; or else none.
    #[must_use]
    pub fn named_exporters(&self) -> Vec<ExporterKind> {
        match &self.exporters {
            Some(kinds) => kinds.clone(),
            None if self.otlp.has_endpoint() && HAS_OTLP => vec![ExporterKind::Otlp],
            None => Vec::new(),
        }
    }

    /// The exporters to run, given those of the program. One that the environment names is left out if the program
    /// has added one of the same name, and so to the same destination.
    #[must_use]
    pub fn exporters(&self, given: Vec<Box<dyn ProfileExporter>>) -> Exporters {
        let mut all = Exporters { exporters: given, ..Exporters::default() };
        for kind in self.named_exporters() {
            match self.make(kind) {
                Ok(exporter) if all.has(exporter.name()) => {}
                Ok(exporter) => all.exporters.push(exporter),
                Err(error) => {
                    all.warnings.push(format!("exporter named by the environment: {error}; ignored"));
                }
            }
        }
        let asked_for_none = self.exporters.as_ref().is_some_and(Vec::is_empty);
        if all.exporters.is_empty() && !asked_for_none {
            all.notice = Some(NOTICE);
        }
        all
    }

    fn make(&self, kind: ExporterKind) -> Result<Box<dyn ProfileExporter>> {
        match kind {
            ExporterKind::Otlp => self.make_otlp(),
            #[cfg(feature = "pyroscope")]
            ExporterKind::Pyroscope => {
                let builder = crate::export::PyroscopeExporter::builder();
                Ok(Box::new(builder.with_settings(self.pyroscope.clone()).build()?))
            }
            #[cfg(not(feature = "pyroscope"))]
            ExporterKind::Pyroscope => {
                Err(crate::error::Error::config("exporter", "pyroscope", "is not built in"))
            }
            ExporterKind::File => {
                let directory = self.directory.as_deref().unwrap_or(Path::new(DEFAULT_DIRECTORY));
                Ok(Box::new(FileExporter::builder().with_directory(directory).build()?))
            }
        }
    }

    fn make_otlp(&self) -> Result<Box<dyn ProfileExporter>> {
        match self.otlp.protocol.unwrap_or(Protocol::default_of_build()) {
            #[cfg(feature = "grpc")]
            Protocol::Grpc => {
                let builder = crate::export::OtlpGrpcExporter::builder().with_settings(self.otlp.clone());
                Ok(Box::new(builder.build()?))
            }
            #[cfg(feature = "otlp-http")]
            Protocol::HttpProtobuf | Protocol::HttpJson => {
                let builder = crate::export::OtlpHttpExporter::builder().with_settings(self.otlp.clone());
                Ok(Box::new(builder.build()?))
            }
            #[allow(unreachable_patterns, reason = "reached in a build that lacks one of the two")]
            _ => Err(crate::error::Error::config("exporter", "otlp", "is not built in")),
        }
    }
}

impl Exporters {
    /// Tells the developer what could not be made, or that nothing runs.
    pub fn report(&self) {
        for warning in &self.warnings {
            diag::warn(warning, format_args!("{warning}"));
        }
        if let Some(notice) = self.notice {
            diag::info("exporters", format_args!("{notice}"));
        }
    }

    fn has(&self, name: &str) -> bool {
        self.exporters.iter().any(|exporter| exporter.name() == name)
    }
}

impl std::fmt::Debug for Exporters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.exporters.iter().map(|exporter| exporter.name()).collect();
        f.debug_struct("Exporters")
            .field("exporters", &names)
            .field("warnings", &self.warnings)
            .field("notice", &self.notice)
            .finish()
    }
}
