//! What an OTLP server says in the body of its answer: how many profiles it refused, or why it refused all.

use super::super::endpoint::shown;
use prost::Message;
use ureq::Body;
use ureq::http::Response;

/// The type of bodies, ours and the server's, to the letter: Pyroscope compares the whole header.
pub(super) const CONTENT_TYPE: &str = "application/x-protobuf";

/// How much of an answer is read. One from an OTLP server has a few hundred bytes.
const MAX_RESPONSE: u64 = 64 << 10;

/// The response of the profiles service.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ExportResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) partial_success: Option<PartialSuccess>,
}

/// Set if there is something to say: a warning if nothing was refused.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PartialSuccess {
    #[prost(int64, tag = "1")]
    pub(super) rejected_profiles: i64,
    #[prost(string, tag = "2")]
    pub(super) error_message: String,
}

/// `google.rpc.Status`, the body of every OTLP/HTTP error.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Status {
    #[prost(string, tag = "2")]
    pub(super) message: String,
}

pub(super) fn header<'a>(response: &'a Response<Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

pub(super) fn is_protobuf(content_type: &str) -> bool {
    content_type.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(CONTENT_TYPE))
}

/// The body, if it is there and not too large; or else a sentence.
pub(super) fn read_body(response: &mut Response<Body>) -> Result<Vec<u8>, String> {
    let body = response.body_mut().with_config().limit(MAX_RESPONSE).read_to_vec();
    body.map_err(|error| format!("the answer could not be read: {error}"))
}

/// What the server says about a refusal, if it can be understood.
pub(super) fn reason(response: &mut Response<Body>) -> String {
    if response.status().is_redirection() {
        let to = header(response, "location").map(shown).unwrap_or_default();
        return format!("redirects to \"{to}\" are not followed: configure the final URL");
    }
    let content_type = header(response, "content-type").unwrap_or_default().to_owned();
    let body = read_body(response).unwrap_or_default();
    if is_protobuf(&content_type) {
        return Status::decode(body.as_slice()).unwrap_or_default().message;
    }
    let is_text = ["text/plain", "application/json"].iter().any(|kind| content_type.starts_with(kind));
    if is_text { String::from_utf8_lossy(&body).trim().to_owned() } else { String::new() }
}
