//! The one error type of the public API.

use std::error::Error as StdError;
use std::fmt;
use std::io;

/// What went wrong and who can act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A value given to a builder is malformed or out of range: the caller must change it.
    Config,
    /// A profiler already runs in this process: stop it first.
    AlreadyRunning,
    /// This platform, or this process's permissions, do not allow it.
    Unsupported,
    /// A file or directory could not be read or written.
    Io,
    /// The work did not finish before its deadline; it may finish later.
    Deadline,
    /// The profiler has been shut down.
    Stopped,
    /// A destination refused or could not be reached; what it did not take is counted as dropped.
    Export,
}

/// An error of the profiler: a sentence that names the thing that failed, a [kind](ErrorKind) and, where there is
/// one, the cause.
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The result of a fallible call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind`; `message` is a lower-case sentence without a full stop that names what failed.
    #[cold]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// A malformed value: "`name`: `value`: why".
    #[cold]
    pub fn config(name: &str, value: &str, why: &str) -> Self {
        Self::new(ErrorKind::Config, format!("{name}: {value:?} {why}"))
    }

    /// An error of the file system about `what`.
    #[cold]
    pub fn io(what: impl Into<String>, cause: io::Error) -> Self {
        Self::new(ErrorKind::Io, what).because(cause)
    }

    /// The same error with its cause.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(cause.into());
        self
    }

    /// Which kind of failure this is.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.source {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({:?}: {self})", self.kind)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|cause| cause as _)
    }
}
