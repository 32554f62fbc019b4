//! Where an exporter sends to: a URL, checked when it is configured and not when the first profile is lost.
//!
//! Credentials in a URL are refused: URLs end up in messages and statistics, secrets must not, and a header carries
//! them as well.

use super::otlp_settings::PROFILES_PATH;
use std::fmt;
use std::num::NonZeroU16;

/// What an endpoint is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    #[cfg_attr(not(feature = "otlp-http"), allow(dead_code, reason = "checked, but nothing is sent"))]
    Http,
    #[cfg_attr(not(feature = "grpc"), allow(dead_code, reason = "checked, but nothing is sent"))]
    Grpc,
}

/// An endpoint as it is given: what it means depends on the transport.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct GivenEndpoint {
    /// The whole URL, to which HTTP appends no path.
    pub(crate) is_whole: bool,
    /// What gRPC makes of an endpoint without a scheme: `http` instead of `https`.
    pub(crate) insecure: bool,
    pub(crate) text: String,
}

impl GivenEndpoint {
    /// Where `transport` sends to, if this build can reach it.
    pub(crate) fn resolve(&self, transport: Transport) -> Result<Endpoint, &'static str> {
        let endpoint = match transport {
            Transport::Http if self.is_whole => Endpoint::full(&self.text)?,
            Transport::Http => Endpoint::base(&self.text)?,
            Transport::Grpc => Endpoint::grpc(&self.text, self.insecure)?,
        };
        if endpoint.is_https() && cfg!(not(feature = "tls")) { Err(NO_TLS) } else { Ok(endpoint) }
    }
}

const NO_TLS: &str =
    "needs TLS, which is not built in: enable the feature tls, or send to a collector nearby by http://";

impl fmt::Debug for GivenEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_whole { "Whole" } else { "Base" };
        write!(f, "{kind}({})", shown(&self.text))
    }
}

/// An absolute `http` or `https` URL without credentials and fragment. Displays without its query, which may hold a
/// key.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    url: String,
    /// Where the host ends and path and query begin.
    path: usize,
}

impl Endpoint {
    /// `url` as it is.
    pub(crate) fn full(url: &str) -> Result<Self, &'static str> {
        if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("has characters that a URL cannot have");
        }
        let Some((scheme, rest)) = url.split_once("://") else { return Err(NO_SCHEME) };
        if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
            return Err(NO_SCHEME);
        }
        if url.contains('#') {
            return Err("has a fragment (#), which cannot be sent");
        }
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err("holds credentials: give them as a header instead");
        }
        check_authority(authority)?;
        Ok(Self { url: url.to_owned(), path: scheme.len() + "://".len() + authority.len() })
    }

    /// `url` with the path of the profiles signal appended.
    pub(crate) fn base(url: &str) -> Result<Self, &'static str> {
        let endpoint = Self::full(url)?;
        if url.contains('?') {
            return Err("has a query (?), which a base URL cannot have");
        }
        Ok(Self { url: format!("{}{PROFILES_PATH}", url.trim_end_matches('/')), ..endpoint })
    }

    /// A server by its scheme, name and port. Without a scheme, `insecure` decides on one, as the specification has it.
    pub(crate) fn grpc(url: &str, insecure: bool) -> Result<Self, &'static str> {
        let endpoint = match url.contains("://") {
            true => Self::full(url)?,
            false => Self::full(&format!("{}://{url}", if insecure { "http" } else { "https" }))?,
        };
        match endpoint.url.get(endpoint.path..) {
            Some("" | "/") => Ok(endpoint),
            _ => Err("has a path or query, which OTLP/gRPC does not have"),
        }
    }

    #[cfg_attr(not(feature = "grpc"), allow(dead_code, reason = "of use to gRPC only"))]
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What follows the path, with its question mark; it may hold a key.
    #[cfg_attr(not(feature = "otlp-http"), allow(dead_code, reason = "of use to HTTP only"))]
    pub(crate) fn query(&self) -> &str {
        self.url.find('?').and_then(|at| self.url.get(at..)).unwrap_or_default()
    }

    #[cfg_attr(not(feature = "otlp-http"), allow(dead_code, reason = "of use to HTTP only"))]
    pub(crate) fn url_without_query(&self) -> &str {
        self.url.strip_suffix(self.query()).unwrap_or(&self.url)
    }

    pub(crate) fn is_https(&self) -> bool {
        self.url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"))
    }

    /// Whether the host is this machine by name or number.
    #[cfg_attr(not(feature = "otlp-http"), allow(dead_code, reason = "of use to HTTP only"))]
    pub(crate) fn is_loopback(&self) -> bool {
        let authority =
            self.url.get(..self.path).and_then(|url| url.split_once("://")).map_or("", |(_, a)| a);
        let host = split_port(authority).0;
        host.eq_ignore_ascii_case("localhost") || host.starts_with("127.") || host == "[::1]"
    }
}

const NO_SCHEME: &str = "is not a URL that begins with http:// or https://";

fn check_authority(authority: &str) -> Result<(), &'static str> {
    let (host, port) = split_port(authority);
    let in_brackets = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host_is_valid = match in_brackets {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
        }
    };
    if !host_is_valid {
        return Err("has no valid host");
    }
    let port_is_valid = port.is_none_or(|port| {
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<NonZeroU16>().is_ok()
    });
    if port_is_valid { Ok(()) } else { Err("has no valid port") }
}

/// The host, in its brackets if it has any, and what follows the colon after it.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    let host_end = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    match authority.get(host_end..).and_then(|rest| rest.find(':')) {
        Some(colon) => {
            let (host, port) = authority.split_at(host_end + colon);
            (host, port.strip_prefix(':'))
        }
        None => (authority, None),
    }
}

/// A URL as it may be shown even if it is malformed: without credentials and query.
pub(crate) fn shown(url: &str) -> String {
    let scheme = || url.split_once("://").map_or(String::new(), |(scheme, _)| format!("{scheme}://"));
    match url.rsplit_once('@') {
        // A query with an "@" in it, or a password with a "?".
        Some((before, _)) if before.contains('?') => format!("{}***", scheme()),
        Some((_, after)) => format!("{}***@{}", scheme(), after.split('?').next().unwrap_or_default()),
        None => url.split('?').next().unwrap_or_default().to_owned(),
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.url))
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_appended_to_a_base_and_to_nothing_else() {
        for (base, url) in [
            ("http://localhost:4318", "http://localhost:4318/v1development/profiles"),
            ("http://localhost:4318/", "http://localhost:4318/v1development/profiles"),
            ("HTTP://h/otlp/", "HTTP://h/otlp/v1development/profiles"),
            ("http://[::1]:4318", "http://[::1]:4318/v1development/profiles"),
            ("https://a.b_c-d", "https://a.b_c-d/v1development/profiles"),
        ] {
            assert_eq!(Endpoint::base(base).map(|e| e.url), Ok(url.to_owned()), "{base}");
            assert_eq!(Endpoint::full(base).map(|e| e.url), Ok(base.to_owned()), "{base}");
        }
    }

    #[test]
    fn malformed_urls_are_refused() {
        for url in [
            "",
            "localhost:4318",
            "grpc://localhost",
            "http:/localhost",
            "http://",
            "http:///path",
            "http://:4318",
            "http://host:",
            "http://host:0",
            "http://host:+80",
            "http://host:65536",
            "http://host:80:80",
            "http://ho st",
            "http://höst",
            "http://host/\n",
            "http://[::1",
            "http://[::g]",
            "http://[::1]x",
            "http://host/#x",
            "http://user:pass@host",
            "unix:///run/otlp.sock",
        ] {
            assert!(Endpoint::full(url).is_err(), "{url:?}");
        }
        assert!(Endpoint::base("http://host/?a=b").is_err());
        assert!(Endpoint::full("http://host/?a=b").is_ok());
    }

    #[test]
    fn secrets_are_not_shown() {
        for url in [
            "http://user:s3cret@host/x?key=s3cret",
            "user:s3cret@host",
            "http://host?key=s3cret",
            "http://a@s3cret@b",
            "http://user:s3cret?s3cret@host",
            "http://host?mail=a@s3cret",
            "user:s3cret?@s3cret",
        ] {
            let shown = shown(url);
            assert!(!shown.contains("s3cret") && (shown.contains(['h', 'b']) || shown == "***"), "{shown}");
        }
        let endpoint = Endpoint::full("http://host/x?key=s3cret").unwrap();
        assert_eq!(
            (format!("{endpoint}"), format!("{endpoint:?}")),
            ("http://host/x".into(), "Endpoint(http://host/x)".into())
        );
    }

    #[test]
    fn loopback_is_told_by_the_host() {
        let is_loopback = |url| Endpoint::full(url).unwrap().is_loopback();
        assert!(
            ["http://localhost:1/x", "http://127.0.0.1", "http://[::1]:4318/x"].into_iter().all(is_loopback)
        );
        assert!(!["http://example.com/127.0.0.1", "http://localhost.example"].into_iter().any(is_loopback));
    }
}
