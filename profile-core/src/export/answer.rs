//! What an OTLP server says in the body of its answer: how many profiles it refused, or why it refused all.

use super::error::ExportReceipt;
use super::headers::Headers;
#[cfg(feature = "otlp-http")]
use super::json::Json;
use prost::Message;

/// How much of an answer is read. One from an OTLP server has a few hundred bytes.
pub(super) const MAX_ANSWER: usize = 64 << 10;

/// How a body is encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Encoding {
    /// Protobuf.
    #[default]
    Protobuf,
    /// JSON, several times as large; for receivers that read nothing else, and for people.
    #[cfg(feature = "otlp-http")]
    Json,
}

/// The response of the profiles service.
#[derive(Clone, PartialEq, Message)]
struct ExportResponse {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

/// Set if there is something to say: a warning if nothing was refused.
#[derive(Clone, PartialEq, Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected_profiles: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

/// `google.rpc.Status`, the body of every OTLP/HTTP error.
#[cfg(feature = "otlp-http")]
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(string, tag = "2")]
    message: String,
}

#[cfg(feature = "otlp-http")]
impl Encoding {
    /// The type of bodies, to the letter: Pyroscope compares the whole header.
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }

    /// The encoding that a header `Content-Type` names.
    pub(super) fn of(content_type: &str) -> Option<Self> {
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        let named = |encoding: &Self| kind.eq_ignore_ascii_case(encoding.content_type());
        [Self::Protobuf, Self::Json].into_iter().find(named)
    }

    /// The text of a `google.rpc.Status`; empty if it is none.
    pub(super) fn status_message(self, body: &[u8]) -> String {
        match self {
            Self::Protobuf => Status::decode(body).unwrap_or_default().message,
            Self::Json => {
                let json = std::str::from_utf8(body).ok().and_then(Json::parse);
                json.and_then(|json| json.get("message")?.text().map(str::to_owned)).unwrap_or_default()
            }
        }
    }
}

impl ExportResponse {
    fn read(encoding: Encoding, body: &[u8]) -> Option<Self> {
        match encoding {
            Encoding::Protobuf => Self::decode(body).ok(),
            #[cfg(feature = "otlp-http")]
            Encoding::Json if body.is_empty() => Some(Self::default()),
            #[cfg(feature = "otlp-http")]
            Encoding::Json => {
                let json = Json::parse(std::str::from_utf8(body).ok()?)?;
                let partial = json.get("partialSuccess");
                let rejected = partial.and_then(|partial| partial.get("rejectedProfiles")?.integer());
                let message = partial.and_then(|partial| partial.get("errorMessage")?.text());
                let partial_success = PartialSuccess {
                    rejected_profiles: rejected.unwrap_or_default(),
                    error_message: message.unwrap_or_default().to_owned(),
                };
                matches!(json, Json::Object(_)).then_some(Self { partial_success: Some(partial_success) })
            }
        }
    }
}

/// The receipt for a batch that was taken, whatever the body says; it may have something to say all the same.
pub(super) fn receipt(encoding: Encoding, body: &[u8], bytes_sent: u64, headers: &Headers) -> ExportReceipt {
    let receipt = ExportReceipt::new(bytes_sent);
    let Some(answer) = ExportResponse::read(encoding, body) else {
        return receipt.with_message("the answer is malformed: is this an OTLP server?");
    };
    let partial = answer.partial_success.unwrap_or_default();
    let receipt = receipt.with_rejected(u64::try_from(partial.rejected_profiles).unwrap_or(0));
    if partial.error_message.is_empty() {
        receipt
    } else {
        receipt.with_message(headers.redacted(partial.error_message))
    }
}
