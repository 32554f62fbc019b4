//! The status that ends a gRPC call, and what OTLP makes of it.
//! Source: <https://opentelemetry.io/docs/specs/otlp/#failures>.

use super::super::error::{ExportError, ExportErrorKind};
use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderMap;
use prost::Message;
use std::time::Duration;

/// A gRPC status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Status {
    code: u32,
    message: String,
    /// How long the server asks to wait.
    retry_delay: Option<Duration>,
}

/// `google.rpc.Status`
#[derive(Clone, PartialEq, Message)]
struct Details {
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`
#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

const OK: u32 = 0;
const RESOURCE_EXHAUSTED: u32 = 8;
const OUT_OF_RANGE: u32 = 11;
/// What a code that is no number counts as.
const UNKNOWN: u32 = 2;

/// The names of the codes from 0 to 16.
const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

impl Status {
    /// The status in headers or trailers; `None` if there is none. Nothing in it can be so malformed that the rest is
    /// not read.
    pub(super) fn read(headers: &HeaderMap) -> Option<Self> {
        let code = headers.get("grpc-status")?.to_str().ok().and_then(|code| code.parse().ok());
        let message = headers.get("grpc-message").map(|text| percent_decoded(text.as_bytes()));
        let details = headers.get("grpc-status-details-bin");
        Some(Self {
            code: code.unwrap_or(UNKNOWN),
            message: message.unwrap_or_default(),
            retry_delay: details.and_then(|details| retry_delay(details.as_bytes())),
        })
    }

    pub(super) const fn is_ok(&self) -> bool {
        self.code == OK
    }

    /// The failure that this is.
    pub(super) fn into_error(self) -> ExportError {
        let kind = match self.code {
            // Of grpc-go and others, and of tonic.
            RESOURCE_EXHAUSTED if self.message.contains("larger than max") => ExportErrorKind::TooLarge,
            OUT_OF_RANGE if self.message.contains("length too large") => ExportErrorKind::TooLarge,
            RESOURCE_EXHAUSTED if self.retry_delay.is_none() => ExportErrorKind::Rejected,
            // CANCELLED, DEADLINE_EXCEEDED, ABORTED, UNAVAILABLE, DATA_LOSS
            1 | 4 | RESOURCE_EXHAUSTED | 10 | OUT_OF_RANGE | 14 | 15 => {
                ExportErrorKind::Retryable { after: self.retry_delay }
            }
            _ => ExportErrorKind::Rejected,
        };
        let name = NAMES.get(self.code as usize).copied().unwrap_or("unknown");
        let colon = if self.message.is_empty() { "" } else { ": " };
        ExportError::new(kind, format!("gRPC status {} {name}{colon}{}", self.code, self.message))
    }
}

/// `%41` to `A`; what is malformed stays as it is.
fn percent_decoded(text: &[u8]) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| *byte == b'%');
        let value = escaped.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        decoded.push(value.unwrap_or(*byte));
        rest = if value.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// The delay in the details, which are a `google.rpc.Status` in base64, with or without padding.
fn retry_delay(details: &[u8]) -> Option<Duration> {
    const ENGINE: GeneralPurpose = GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let details = Details::decode(ENGINE.decode(details).ok()?.as_slice()).ok()?;
    let info = details.details.into_iter().find(|detail| detail.type_url == RETRY_INFO)?;
    let delay = RetryInfo::decode(info.value.as_slice()).ok()?.retry_delay.unwrap_or_default();
    let whole = Duration::from_secs(u64::try_from(delay.seconds).unwrap_or(0));
    Some(whole.saturating_add(Duration::from_nanos(u64::try_from(delay.nanos).unwrap_or(0))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn status(fields: &[(&'static str, &str)]) -> Status {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.insert(*name, HeaderValue::from_str(value).unwrap());
        }
        Status::read(&headers).unwrap()
    }

    /// Written by grpc-go: status 8, message "slow", `RetryInfo` of 2.5 s.
    const DETAILS: &str =
        "CAgSBHNsb3caNgoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIKCggIAhCAyrXuAQ";

    #[test]
    fn codes_are_retryable_as_the_specification_says() {
        for code in 1..20 {
            let kind = status(&[("grpc-status", &code.to_string())]).into_error().kind();
            let retryable = matches!(kind, ExportErrorKind::Retryable { after: None });
            assert_eq!(retryable, [1, 4, 10, 11, 14, 15].contains(&code), "{code}");
        }
    }

    #[test]
    fn the_delay_that_a_server_asks_for_is_read() {
        let after = |code: &str, details: &str| {
            let fields = [("grpc-status", code), ("grpc-status-details-bin", details)];
            status(&fields).into_error().kind()
        };
        let waits = ExportErrorKind::Retryable { after: Some(Duration::from_millis(2500)) };
        assert_eq!(after("8", DETAILS), waits);
        assert_eq!(after("14", &format!("{DETAILS}==")), waits, "with padding, though it is wrong");
        assert_eq!(after("3", DETAILS), ExportErrorKind::Rejected);
        for malformed in ["", "!", "CAgS", "////"] {
            assert_eq!(after("8", malformed), ExportErrorKind::Rejected, "{malformed}");
            assert_eq!(after("14", malformed), ExportErrorKind::Retryable { after: None }, "{malformed}");
        }
    }

    #[test]
    fn messages_are_percent_decoded_as_far_as_they_are_encoded() {
        for (encoded, message) in
            [("a%20%C3%a9", "a é"), ("100%", "100%"), ("%zz%4", "%zz%4"), ("%ff", "\u{fffd}")]
        {
            assert_eq!(status(&[("grpc-status", "3"), ("grpc-message", encoded)]).message, message);
        }
        assert_eq!(status(&[("grpc-status", "x")]).code, UNKNOWN);
        assert!(Status::read(&HeaderMap::new()).is_none());
    }

    #[test]
    fn what_is_too_large_is_known_by_the_words_of_common_servers() {
        for (code, message) in [
            ("8", "grpc: received message larger than max (2 vs. 1)"),
            ("11", "Error, decoded message length too large: found 2 bytes, the limit is: 1 bytes"),
        ] {
            let error = status(&[("grpc-status", code), ("grpc-message", message)]).into_error();
            assert_eq!(error.kind(), ExportErrorKind::TooLarge, "{error}");
        }
    }
}
