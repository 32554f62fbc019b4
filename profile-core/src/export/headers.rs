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
        if !is_name(name) {
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

    /// `text` of a server without our values, should it repeat them: neither as they are sent, nor in parts, nor the
    /// password that a value of Basic authentication stands for.
    #[cfg(any(feature = "otlp-http", feature = "grpc"))]
    pub(crate) fn redacted(&self, text: String) -> String {
        let mut secrets = Vec::new();
        for (_, value) in self.iter() {
            secrets.push(value.to_owned());
            secrets.extend(value.split_ascii_whitespace().map(str::to_owned));
            secrets.extend(password(value));
        }
        secrets.retain(|secret| secret.len() >= MIN_SECRET);
        // The longest first: what is left of a secret of which a part is replaced would still be shown.
        secrets.sort_unstable_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.iter().fold(text, |text, secret| text.replace(secret.as_str(), "***"))
    }
}

fn is_name(text: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_token)
}

/// A header's name as it may be shown: one that is none may be a whole header that was put in the name's place.
pub(crate) fn shown_name(name: &str) -> &str {
    if is_name(name) { name } else { "(not shown)" }
}

/// The password in a value of Basic authentication. Source: RFC 7617, section 2.
#[cfg(any(feature = "otlp-http", feature = "grpc"))]
fn password(value: &str) -> Option<String> {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let (scheme, credentials) = value.trim().split_once(' ')?;
    let decoded =
        STANDARD.decode(credentials.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    Some(String::from_utf8(decoded).ok()?.split_once(':')?.1.to_owned())
}

impl FromIterator<(String, String)> for Headers {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(headers: I) -> Self {
        Self(headers.into_iter().collect())
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| shown_name(name))).finish()
    }
}
