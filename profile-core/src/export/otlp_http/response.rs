//! The parts of an HTTP response that say what has become of a batch.

use super::super::answer::{Encoding, MAX_ANSWER};
use super::super::endpoint::shown;
use ureq::Body;
use ureq::http::Response;

pub(super) fn header<'a>(response: &'a Response<Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

/// What a server says that took a request.
pub(in super::super) struct Answer {
    pub(in super::super) content_type: String,
    /// The body, if it is there and not too large; or else a sentence.
    pub(in super::super) body: Result<Vec<u8>, String>,
}

impl Answer {
    pub(super) fn read(mut response: Response<Body>) -> Self {
        let content_type = header(&response, "content-type").unwrap_or_default().to_owned();
        Self { content_type, body: read_body(&mut response) }
    }
}

/// The body, if it is there and not too large; or else a sentence.
fn read_body(response: &mut Response<Body>) -> Result<Vec<u8>, String> {
    let body = response.body_mut().with_config().limit(MAX_ANSWER as u64).read_to_vec();
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
    let as_text = || String::from_utf8_lossy(&body).trim().to_owned();
    match Encoding::of(&content_type) {
        Some(Encoding::Protobuf) => Encoding::Protobuf.status_message(&body),
        Some(Encoding::Json) => {
            Some(Encoding::Json.status_message(&body)).filter(|text| !text.is_empty()).unwrap_or_else(as_text)
        }
        None if content_type.starts_with("text/plain") => as_text(),
        None => String::new(),
    }
}
