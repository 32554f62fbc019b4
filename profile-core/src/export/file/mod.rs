//! Profiles as files, for those without a server: pprof for `go tool pprof` and its kin, folded text for flame graphs,
//! OTLP for everything else.
//!
//! By default there is *one* file for each format, which holds everything since the start: each batch is merged into
//! what was there and the file is replaced as a whole, by a rename, so that a reader never sees half a file, and a full
//! disk leaves the old one. What is merged is bounded; when it outgrows the bound, the files get a number and new ones
//! begin. Alternatively every batch is a numbered file of its own. The number of numbered files is bounded as well: the
//! oldest are deleted.

mod directory;

use super::ProfileExporter;
use super::error::{ExportError, ExportReceipt};
use crate::error::{Error, Result};
use crate::profile::{Profile, ProfileBatch};
use directory::Directory;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Writes profiles to files in a directory.
#[derive(Debug)]
pub struct FileExporter {
    name: String,
    directory: Directory,
    formats: Vec<FileFormat>,
    mode: FileMode,
    max_bytes: usize,
    /// What the cumulative files hold.
    merged: Option<Arc<Profile>>,
}

/// Builds a [`FileExporter`].
#[derive(Clone, Debug)]
pub struct FileExporterBuilder {
    directory: PathBuf,
    base_name: String,
    formats: Vec<FileFormat>,
    mode: FileMode,
    max_files: usize,
    max_bytes: usize,
}

/// A format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileFormat {
    /// pprof's `profile.proto`, gzipped: `.pb.gz`.
    Pprof,
    /// One line for each stack, `root;…;leaf weight`: `.folded`.
    Folded,
    /// An OTLP `ExportProfilesServiceRequest`, which is a `ProfilesData` too: `.otlp`.
    Otlp,
}

/// What a file holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileMode {
    /// Everything since the start: `cpu.pb.gz`.
    #[default]
    Cumulative,
    /// One batch: `cpu-000001.pb.gz`, `cpu-000002.pb.gz`, …; numbers go on where an earlier process stopped.
    Numbered,
}

const ALL_FORMATS: [FileFormat; 3] = [FileFormat::Pprof, FileFormat::Folded, FileFormat::Otlp];

/// Where files are written: the default of `PROFILE_DIRECTORY`.
pub const DEFAULT_DIRECTORY: &str = "target/profile";

/// Numbered files of each format that are kept.
const DEFAULT_MAX_FILES: usize = 60;

/// Bytes of the merged profile, estimated, before new files are begun.
const DEFAULT_MAX_BYTES: usize = 64 << 20;

impl FileExporter {
    /// An exporter of `cpu.pb.gz` and `cpu.folded` in `target/profile`, to be configured further.
    #[must_use]
    pub fn builder() -> FileExporterBuilder {
        FileExporterBuilder {
            directory: PathBuf::from(DEFAULT_DIRECTORY),
            base_name: "cpu".to_owned(),
            formats: vec![FileFormat::Pprof, FileFormat::Folded],
            mode: FileMode::default(),
            max_files: DEFAULT_MAX_FILES,
            max_bytes: DEFAULT_MAX_BYTES,
        }
    }

    /// Replaces the cumulative files. What is merged is kept only if it is on disk: if not, the same batch comes again.
    fn export_cumulative(&mut self, batch: &ProfileBatch) -> io::Result<u64> {
        let of_batch = batch.profiles().iter().map(Arc::as_ref);
        let mut merged =
            Profile::merge(&self.merged.as_deref().into_iter().chain(of_batch.clone()).collect::<Vec<_>>());
        let is_large = merged.as_ref().is_some_and(|merged| merged.estimated_bytes() > self.max_bytes);
        if is_large && self.merged.is_some() {
            self.directory.number_current(&self.extensions())?;
            self.merged = None;
            merged = Profile::merge(&of_batch.collect::<Vec<_>>());
        }
        let merged = merged.map(Arc::new);
        let files =
            self.encode(&ProfileBatch::new(Arc::clone(batch.resource()), merged.iter().cloned().collect()));
        let written = self.directory.replace_current(&files)?;
        self.merged = merged;
        Ok(written)
    }

    fn encode(&self, batch: &ProfileBatch) -> Vec<(&'static str, Vec<u8>)> {
        self.formats.iter().map(|format| (format.extension(), format.encode(batch))).collect()
    }

    fn extensions(&self) -> Vec<&'static str> {
        self.formats.iter().map(|format| format.extension()).collect()
    }
}

impl ProfileExporter for FileExporter {
    fn name(&self) -> &str {
        &self.name
    }

    fn export(&mut self, batch: &ProfileBatch, _deadline: Instant) -> Result<ExportReceipt, ExportError> {
        let written = match self.mode {
            FileMode::Cumulative => self.export_cumulative(batch),
            FileMode::Numbered => self.directory.write_next(&self.encode(batch)),
        };
        written.map(ExportReceipt::new).map_err(|cause| {
            let message = format!("{}: {cause}", self.directory.path().display());
            if may_pass(&cause) { ExportError::retryable(message) } else { ExportError::rejected(message) }
        })
    }
}

/// Whether a failure of the file system may go away without anyone's doing something about the configuration.
fn may_pass(cause: &io::Error) -> bool {
    !matches!(
        cause.kind(),
        io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::InvalidFilename
            | io::ErrorKind::Unsupported
    )
}

impl FileFormat {
    const fn extension(self) -> &'static str {
        match self {
            Self::Pprof => "pb.gz",
            Self::Folded => "folded",
            Self::Otlp => "otlp",
        }
    }

    fn encode(self, batch: &ProfileBatch) -> Vec<u8> {
        match self {
            Self::Pprof => batch.to_pprof(),
            Self::Folded => batch.to_folded().into_bytes(),
            Self::Otlp => batch.to_otlp(),
        }
    }
}

impl FileExporterBuilder {
    /// Where to write; `target/profile` by default. It is created if it is not there.
    #[must_use]
    pub fn with_directory(mut self, directory: impl AsRef<Path>) -> Self {
        self.directory = directory.as_ref().to_owned();
        self
    }

    /// What the names of the files begin with; `cpu` by default.
    #[must_use]
    pub fn with_base_name(mut self, name: impl Into<String>) -> Self {
        self.base_name = name.into();
        self
    }

    /// What to write; pprof and folded text by default.
    #[must_use]
    pub fn with_formats(mut self, formats: impl IntoIterator<Item = FileFormat>) -> Self {
        self.formats.clear();
        for format in formats {
            if !self.formats.contains(&format) {
                self.formats.push(format);
            }
        }
        self
    }

    /// What a file holds; everything since the start by default.
    #[must_use]
    pub const fn with_mode(mut self, mode: FileMode) -> Self {
        self.mode = mode;
        self
    }

    /// How many numbered files of each format to keep, those of earlier processes included; from 1, and 60 by default.
    #[must_use]
    pub const fn with_max_files(mut self, files: usize) -> Self {
        self.max_files = files;
        self
    }

    /// How many bytes of memory the merged profile of the cumulative files takes, by estimate, before they get a number
    /// and new ones are begun; 64 MiB by default.
    #[must_use]
    pub const fn with_max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Creates the directory, and makes sure that it can be written to.
    ///
    /// # Errors
    /// [`Io`](crate::error::ErrorKind::Io) if it cannot, and [`Config`](crate::error::ErrorKind::Config) for a name, a
    /// number or a list of formats that makes no sense.
    pub fn build(self) -> Result<FileExporter> {
        let is_name = !self.base_name.is_empty() && !self.base_name.starts_with('.');
        if !is_name || self.base_name.contains(['/', '\\', '\0']) {
            return Err(Error::config("base_name", &self.base_name, "is not the beginning of a file's name"));
        }
        if self.max_files == 0 {
            return Err(Error::config("max_files", "0", "must be at least 1"));
        }
        if self.formats.is_empty() {
            return Err(Error::config("formats", "", "names no format"));
        }
        let name = format!("file {}", self.directory.join(&self.base_name).display());
        let directory = Directory::open(self.directory.clone(), self.base_name, self.max_files)
            .map_err(|cause| Error::io(format!("cannot write to directory {:?}", self.directory), cause))?;
        Ok(FileExporter {
            name,
            directory,
            formats: self.formats,
            mode: self.mode,
            max_bytes: self.max_bytes,
            merged: None,
        })
    }
}
