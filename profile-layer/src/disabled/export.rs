//! Exporters and processors: they take what they are told and get nothing to do.

use super::{Profile, ProfileBatch, Result};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Gets every profile.
pub trait ProfileProcessor: Send + Sync {
    fn on_profile(&self, profile: Arc<Profile>);
    fn force_flush(&self, timeout: Duration) -> Result<()>;
    fn shutdown(&self, timeout: Duration) -> Result<()>;
}

/// Delivers batches.
pub trait ProfileExporter: Send {
    fn name(&self) -> &str;
    fn export(&mut self, batch: &ProfileBatch, deadline: Instant) -> Result<ExportReceipt, ExportError>;
    fn shutdown(&mut self) {}
}

/// What a destination took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportReceipt(());

/// Why an attempt failed.
pub struct ExportError(());

impl ExportReceipt {
    pub const fn new(_: u64) -> Self {
        Self(())
    }

    pub const fn with_rejected(self, _: u64) -> Self {
        self
    }

    pub fn with_message(self, _: impl Into<String>) -> Self {
        self
    }

    pub const fn bytes_sent(&self) -> u64 {
        0
    }

    pub const fn rejected_profiles(&self) -> u64 {
        0
    }

    pub fn message(&self) -> Option<&str> {
        None
    }
}

impl ExportError {
    pub fn retryable(_: impl Into<String>) -> Self {
        Self(())
    }

    pub fn rejected(_: impl Into<String>) -> Self {
        Self(())
    }
}

impl fmt::Debug for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExportError")
    }
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no profiler is built in")
    }
}

impl std::error::Error for ExportError {}

/// A format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileFormat {
    Pprof,
    Folded,
    Otlp,
}

/// What a file holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileMode {
    #[default]
    Cumulative,
    Numbered,
}

/// How the body of a request is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compression {
    #[default]
    None,
    Gzip,
    #[cfg(feature = "zstd")]
    Zstd,
}

/// Something that is built and then does nothing, with its builder, which accepts everything.
macro_rules! idle {
    ($($idle:ident by $builder:ident { $($method:ident($($kind:ty),*);)* })+) => {$(
        #[derive(Debug)]
        pub struct $idle(());

        #[derive(Debug)]
        pub struct $builder(());

        impl $idle {
            pub fn builder() -> $builder {
                $builder(())
            }
        }

        impl $builder {
            $(pub fn $method(self, $(_: $kind),*) -> Self {
                self
            })*

            pub fn build(self) -> Result<$idle> {
                Ok($idle(()))
            }
        }
    )+};
}

idle! {
    FileExporter by FileExporterBuilder {
        with_directory(impl AsRef<Path>);
        with_base_name(impl Into<String>);
        with_formats(impl IntoIterator<Item = FileFormat>);
        with_mode(FileMode);
        with_max_files(usize);
        with_max_bytes(usize);
    }
    OtlpHttpExporter by OtlpHttpExporterBuilder {
        with_endpoint(impl Into<String>);
        with_profiles_endpoint(impl Into<String>);
        with_header(impl Into<String>, impl Into<String>);
        with_timeout(Duration);
        with_compression(Compression);
        with_ca_certificate(impl Into<PathBuf>);
        with_client_certificate(impl Into<PathBuf>, impl Into<PathBuf>);
    }
    OtlpGrpcExporter by OtlpGrpcExporterBuilder {
        with_endpoint(impl Into<String>);
        with_header(impl Into<String>, impl Into<String>);
        with_timeout(Duration);
        with_compression(Compression);
        with_ca_certificate(impl Into<PathBuf>);
        with_client_certificate(impl Into<PathBuf>, impl Into<PathBuf>);
    }
    PyroscopeExporter by PyroscopeExporterBuilder {
        with_endpoint(impl Into<String>);
        with_tenant_id(impl Into<String>);
        with_basic_auth(impl Into<String>, impl Into<String>);
        with_header(impl Into<String>, impl Into<String>);
        with_timeout(Duration);
    }
    BatchProfileProcessor by BatchProfileProcessorBuilder {
        with_exporter(impl ProfileExporter + 'static);
        with_exporters(Vec<Box<dyn ProfileExporter>>);
        with_batch_size(usize);
        with_batch_timeout(Duration);
        with_max_queue_size(usize);
        with_max_queue_bytes(usize);
    }
}

/// An exporter that is never asked to export: there are no batches.
macro_rules! never_asked {
    ($($exporter:ident)+) => {$(
        impl ProfileExporter for $exporter {
            fn name(&self) -> &str {
                stringify!($exporter)
            }

            fn export(&mut self, batch: &ProfileBatch, _: Instant) -> Result<ExportReceipt, ExportError> {
                match *batch {}
            }
        }
    )+};
}

never_asked! { FileExporter OtlpGrpcExporter OtlpHttpExporter PyroscopeExporter }

impl ProfileProcessor for BatchProfileProcessor {
    fn on_profile(&self, profile: Arc<Profile>) {
        match *profile {}
    }

    fn force_flush(&self, _: Duration) -> Result<()> {
        Ok(())
    }

    fn shutdown(&self, _: Duration) -> Result<()> {
        Ok(())
    }
}
