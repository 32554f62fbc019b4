//! A unary gRPC call over an HTTP/2 channel: one message there, one message and a status back.
//! Source: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>.
//!
//! Written out, and not left to a generated client, for three reasons: the message is bytes already; what is sent can
//! be counted; and a server that answers nonsense must cost no batch that it took, and no memory or panic of ours.

use super::super::answer::MAX_ANSWER;
use super::super::compression::Compression;
use super::super::error::{ExportError, ExportErrorKind};
use super::super::retry_after;
use super::status::Status;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use prost::bytes::Bytes;
use std::error::Error as StdError;
use std::future::poll_fn;
use std::time::{Duration, SystemTime};
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::transport::Channel;

/// What a server's answer says.
#[derive(Debug)]
pub(super) enum Answer {
    /// It took the message, and this is its own.
    Taken(Vec<u8>),
    /// It took the message, and says something that makes no sense.
    TakenWithNonsense(&'static str),
    /// It did not.
    Refused(Status),
}

const PATH: &str = "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export";

/// The length of what precedes a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// The compressions of answers that are understood. A server of grpc-go answers in that of the request.
const ACCEPTED: &str = if cfg!(feature = "zstd") { "identity,gzip,zstd" } else { "identity,gzip" };

/// The request of a call with `message`, which is compressed as `encoding` says.
pub(super) fn request(
    message: &[u8],
    encoding: Option<&'static str>,
    metadata: &HeaderMap,
    timeout: Duration,
) -> Request<Body> {
    let mut framed = Vec::with_capacity(PREFIX + message.len());
    framed.push(encoding.is_some().into());
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    framed.extend_from_slice(message);
    let mut request = Request::new(Body::new(Full::new(Bytes::from(framed))));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = http::Uri::from_static(PATH);
    *request.version_mut() = http::Version::HTTP_2;
    let headers = request.headers_mut();
    headers.extend(metadata.clone());
    headers.insert("te", HeaderValue::from_static("trailers"));
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    if let Some(encoding) = encoding {
        headers.insert("grpc-encoding", HeaderValue::from_static(encoding));
    }
    headers.insert("grpc-accept-encoding", HeaderValue::from_static(ACCEPTED));
    // In milliseconds, of which there are no more digits than the eight that are allowed.
    let millis = timeout.as_millis().clamp(1, 99_999_999);
    if let Ok(timeout) = HeaderValue::try_from(format!("{millis}m")) {
        headers.insert("grpc-timeout", timeout);
    }
    request
}

/// Makes a call.
///
/// # Errors
/// The connection failed, or the peer does not speak gRPC.
pub(super) async fn call(mut channel: Channel, request: Request<Body>) -> Result<Answer, ExportError> {
    let failed = |cause: tonic::transport::Error| ExportError::retryable(chain(&cause));
    poll_fn(|context| channel.poll_ready(context)).await.map_err(failed)?;
    let response = channel.call(request).await.map_err(failed)?;
    if let Some(status) = Status::read(response.headers()) {
        // Nothing but a status: there should be no message to a success like that, but it is one.
        return Ok(if status.is_ok() { Answer::Taken(Vec::new()) } else { Answer::Refused(status) });
    }
    check_head(&response)?;
    read(response).await
}

/// The error and what it comes of.
pub(super) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

/// Whether a response without a status can become one with a status.
fn check_head(response: &Response<Body>) -> Result<(), ExportError> {
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
    let status = response.status();
    if status != StatusCode::OK {
        // A proxy, or no gRPC server. Which may be tried again:
        // <https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>
        let kind = match status.as_u16() {
            429 | 502..=504 => ExportErrorKind::Retryable {
                after: header("retry-after").and_then(|value| retry_after::parse(value, SystemTime::now())),
            },
            _ => ExportErrorKind::Rejected,
        };
        return Err(ExportError::new(kind, format!("HTTP status {status}: is this an OTLP/gRPC server?")));
    }
    let content_type = header("content-type").unwrap_or_default();
    if content_type.starts_with("application/grpc") {
        return Ok(());
    }
    let message = format!("the answer is of type \"{content_type}\": is this an OTLP/gRPC server?");
    Err(ExportError::rejected(message))
}

/// Reads message and status. A server sends a message only when it has taken ours, so that one which is too long to
/// be read to its end is as good as a success.
async fn read(response: Response<Body>) -> Result<Answer, ExportError> {
    let encoding = response.headers().get("grpc-encoding").and_then(|value| value.to_str().ok());
    let compression = Compression::parse(encoding.unwrap_or("none")).unwrap_or_default();
    let mut body = response.into_body();
    let mut message = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|cause| ExportError::retryable(chain(&cause)))?;
        let frame = match frame.into_data() {
            Ok(data) if message.len() + data.len() > MAX_ANSWER => {
                return Ok(Answer::TakenWithNonsense("the answer is too long: is this an OTLP server?"));
            }
            Ok(data) => {
                message.extend_from_slice(&data);
                continue;
            }
            Err(frame) => frame,
        };
        let Some(status) = frame.trailers_ref().and_then(Status::read) else { break };
        return Ok(if status.is_ok() { unframed(message, compression) } else { Answer::Refused(status) });
    }
    Err(ExportError::retryable("the answer ended before its status"))
}

/// The one message in `framed`, which is compressed if it says so.
fn unframed(mut framed: Vec<u8>, compression: Compression) -> Answer {
    const MALFORMED: Answer = Answer::TakenWithNonsense("the answer is malformed: is this an OTLP server?");
    let Some([compressed, length @ ..]) = framed.first_chunk::<PREFIX>().copied() else { return MALFORMED };
    if u32::from_be_bytes(length) as usize != framed.len() - PREFIX {
        return MALFORMED;
    }
    let message = framed.split_off(PREFIX);
    match compressed {
        0 => Answer::Taken(message),
        1 => compression.decompress(&message, MAX_ANSWER).map_or(MALFORMED, Answer::Taken),
        _ => MALFORMED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_may_be_compressed_and_is_bounded_all_the_same() {
        let framed = |flag: u8, message: &[u8]| {
            [&[flag], (message.len() as u32).to_be_bytes().as_slice(), message].concat()
        };
        let taken = |framed: Vec<u8>, compression| match unframed(framed, compression) {
            Answer::Taken(message) => Some(message),
            _ => None,
        };
        assert_eq!(taken(framed(0, b"abc"), Compression::None), Some(b"abc".to_vec()));
        let gzip = |length: usize| Compression::Gzip.compress(vec![7; length]).unwrap();
        assert_eq!(taken(framed(1, &gzip(3)), Compression::Gzip), Some(vec![7; 3]));
        assert_eq!(taken(framed(1, &gzip(MAX_ANSWER)), Compression::Gzip), Some(vec![7; MAX_ANSWER]));
        assert_eq!(taken(framed(1, &gzip(1 << 30 >> 4)), Compression::Gzip), None);
        for malformed in [framed(1, b"abc"), framed(2, b""), b"".to_vec(), framed(0, b"abc")[..7].to_vec()] {
            assert_eq!(taken(malformed, Compression::Gzip), None);
        }
    }
}
