//! Past the log of the HTTP client: at the level `trace` it logs every byte that it writes, and at `debug` the URL.
//!
//! So it is not told the secrets: instead of the headers it gets one line that stands for them, and a URL without its
//! query. They are put in between the client and the connection. The client keeps its interface for that stable
//! within a minor version only, which is why `Cargo.toml` names one; nothing else here depends on it.

use super::super::endpoint::Endpoint;
use super::super::headers::Headers;
use crate::random;
use std::fmt;
use std::sync::Arc;
use ureq::Error;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

/// The name of the line that stands for the headers.
pub(super) const PLACEHOLDER: &str = "x-profile-headers";

/// The headers that the client must know of, and that hold no secrets.
const PLAIN: [&str; 4] = ["accept", "accept-encoding", "expect", "user-agent"];

/// What the client is not told.
#[derive(Clone)]
pub(super) struct Sealed(Arc<Contents>);

struct Contents {
    /// The value in the placeholder, which nothing else in a request equals.
    mark: String,
    /// The placeholder as it is written, and the lines in its place.
    placeholder: String,
    lines: String,
    /// With its question mark, if there is any.
    query: String,
}

/// A connection on which the placeholder is replaced.
#[derive(Debug)]
pub(super) struct Unsealing<T> {
    inner: T,
    sealed: Sealed,
}

/// Whether the client is given this header itself.
pub(super) fn is_plain(name: &str) -> bool {
    PLAIN.iter().any(|plain| name.eq_ignore_ascii_case(plain))
}

impl Sealed {
    pub(super) fn new(headers: &Headers, endpoint: &Endpoint) -> Self {
        let mark = format!("{:016x}", random::word());
        let lines = headers.iter().filter(|(name, _)| !is_plain(name));
        Self(Arc::new(Contents {
            placeholder: format!("{PLACEHOLDER}: {mark}\r\n"),
            mark,
            lines: lines.map(|(name, value)| format!("{name}: {value}\r\n")).collect(),
            query: endpoint.query().to_owned(),
        }))
    }

    pub(super) fn mark(&self) -> &str {
        &self.0.mark
    }

    /// What is sent instead of `written`; `None` if that is to be sent as it is: a request's head comes in one piece.
    fn unsealed(&self, written: &[u8]) -> Option<Vec<u8>> {
        const VERSION: &[u8] = b" HTTP/1.1\r\n";
        let Contents { placeholder, lines, query, .. } = &*self.0;
        let (before, after) = split(written, placeholder.as_bytes())?;
        let (target, others) = split(before, VERSION)?;
        Some([target, query.as_bytes(), VERSION, others, lines.as_bytes(), after].concat())
    }
}

/// What is before and after the first `at`.
fn split<'a>(text: &'a [u8], at: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let position = text.windows(at.len()).position(|window| window == at)?;
    let (before, rest) = text.split_at_checked(position)?;
    Some((before, rest.get(at.len()..)?))
}

impl<In: Transport> Connector<In> for Sealed {
    type Out = Unsealing<In>;

    fn connect(&self, _: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Self::Out>, Error> {
        Ok(chained.map(|inner| Unsealing { inner, sealed: self.clone() }))
    }
}

impl<T: Transport> Transport for Unsealing<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let output = self.inner.buffers().output();
        let room = output.len().max(1);
        let Some(unsealed) = output.get(..amount).and_then(|written| self.sealed.unsealed(written)) else {
            return self.inner.transmit_output(amount, timeout);
        };
        for part in unsealed.chunks(room) {
            if let Some(output) = self.inner.buffers().output().get_mut(..part.len()) {
                output.copy_from_slice(part);
            }
            self.inner.transmit_output(part.len(), timeout)?;
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed")
    }
}
