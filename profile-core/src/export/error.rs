//! What an attempt to deliver a batch comes to.

use crate::diag::truncate;
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

/// What a destination took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportReceipt {
    bytes_sent: u64,
    rejected_profiles: u64,
    message: Option<String>,
}

/// Why an attempt to deliver a batch failed. Its text never holds the value of a header.
pub struct ExportError {
    kind: ExportErrorKind,
    message: String,
}

/// What can be done about a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExportErrorKind {
    /// It may work later: the destination is overloaded or away.
    Retryable {
        /// How long the destination asks to wait, if it says so.
        after: Option<Duration>,
    },
    /// The batch is too large for the destination: in halves it may work.
    TooLarge,
    /// It will not work, however often it is tried.
    Rejected,
}

/// The longest text kept: some of it comes from the peer.
const MAX_MESSAGE: usize = 512;

impl ExportReceipt {
    /// The destination took the whole batch; `bytes_sent` is the size of the body as it was sent.
    #[must_use]
    pub const fn new(bytes_sent: u64) -> Self {
        Self { bytes_sent, rejected_profiles: 0, message: None }
    }

    /// The destination refused some of the profiles, and says why.
    #[must_use]
    pub const fn with_rejected(mut self, profiles: u64) -> Self {
        self.rejected_profiles = profiles;
        self
    }

    /// What the destination has to say, though it took the batch; shown to the developer.
    #[must_use]
    pub fn with_message(mut self, message: impl Into<String>) -> Self {
        self.message = Some(printable(message.into()));
        self
    }

    /// The size of the body as it was sent.
    #[must_use]
    pub const fn bytes_sent(&self) -> u64 {
        self.bytes_sent
    }

    /// How many profiles of the batch the destination refused.
    #[must_use]
    pub const fn rejected_profiles(&self) -> u64 {
        self.rejected_profiles
    }

    /// What the destination has to say.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }
}

impl ExportError {
    /// A failure of `kind`; `message` is a lower-case sentence without a full stop, and without secrets.
    #[cold]
    pub fn new(kind: ExportErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: printable(message.into()) }
    }

    /// A failure that may pass.
    #[cold]
    pub fn retryable(message: impl Into<String>) -> Self {
        Self::new(ExportErrorKind::Retryable { after: None }, message)
    }

    /// A failure that will not pass.
    #[cold]
    pub fn rejected(message: impl Into<String>) -> Self {
        Self::new(ExportErrorKind::Rejected, message)
    }

    /// What can be done about it.
    #[must_use]
    pub const fn kind(&self) -> ExportErrorKind {
        self.kind
    }
}

/// Bounded, and on one line: control characters of a peer must not reach a terminal.
fn printable(mut text: String) -> String {
    truncate(&mut text, MAX_MESSAGE);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExportError({:?}: {self})", self.kind)
    }
}

impl StdError for ExportError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_says_is_bounded_and_on_one_line() {
        let error = ExportError::rejected(format!("no\r\n\u{1b}[2J{}", "x".repeat(10_000)));
        let text = error.to_string();
        assert!(text.len() < 600 && text.starts_with("no   [2Jxxx"), "{text}");
        assert!(!format!("{error:?}").contains('\u{1b}'));
    }
}
