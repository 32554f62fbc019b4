//! Headers of requests, whose values may be secrets: they are shown nowhere, and taken out of what a server says.

use std::fmt;

/// Names and values, all of which [`check`](Headers::check) accepts. Shows the names only.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Headers(Vec<(String, String)>);

/// The headers that exporters set themselves, because the peer misreads the request without them.
const OWN: [&str; 6] =
    ["content-type", "content-encoding", "content-length", "transfer-encoding", "host", "connection"];

/// Shorter parts of a header's value are no secrets, and would be found in every text.
const MIN_SECRET: usize = 4;

impl Headers {
    /// Whether a header can be sent. Source: RFC 9110, sections 5.1 and 5.5.
    pub(crate) fn check(name: &str, value: &str) -> Result<(), &'static str> {
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err("is not a header name");
        }
        if OWN.iter().any(|own| name.eq_ignore_ascii_case(own)) {
            return Err("is set by the exporter itself");
        }
        if !value.bytes().all(|byte| byte == b'\t' || (b' '..0x7f).contains(&byte)) {
            return Err("has a value that is not printable ASCII");
        }
        Ok(())
    }

    /// Adds a header that has been checked or will be.
    pub(crate) fn push(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.push((name.into(), value.into()));
    }

    /// These, after those of `others` that are not among them.
    pub(crate) fn over(self, others: Self) -> Self {
        let mut all = others.0;
        all.retain(|(name, _)| !self.0.iter().any(|(own, _)| own.eq_ignore_ascii_case(name)));
        all.extend(self.0);
        Self(all)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// `text` of a server without our values, should it repeat them.
    pub(crate) fn redacted(&self, text: String) -> String {
        let secrets = self.iter().flat_map(|(_, value)| value.split_ascii_whitespace().chain([value]));
        let secrets = secrets.filter(|secret| secret.len() >= MIN_SECRET);
        secrets.fold(text, |text, secret| text.replace(secret, "***"))
    }
}

impl FromIterator<(String, String)> for Headers {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(headers: I) -> Self {
        Self(headers.into_iter().collect())
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}
