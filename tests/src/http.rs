//! A plain HTTP/1.1 client: enough to talk to the peers, and nothing that the code under test also uses.

use crate::error::Context as _;
use crate::{Error, Result};
use std::io::{self, BufRead, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a peer may stay silent.
const TIMEOUT: Duration = Duration::from_secs(20);
/// No peer answers with more than this.
const MAX_BODY: u64 = 64 << 20;

/// A peer's answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// The first value of the header `name` (lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text; what is not UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The response, if its status is 200.
    ///
    /// # Errors
    ///
    /// Any other status, with the body.
    pub fn ok(self) -> Result<Self> {
        if self.status == 200 {
            Ok(self)
        } else {
            Err(Error::new(format!("HTTP {}: {}", self.status, self.text())))
        }
    }
}

/// Sends `body` to `path` of the server at `address`. `headers` are sent besides Host, Connection and Content-Length.
///
/// # Errors
///
/// The connection fails, the peer is silent for 20 s, or the answer is not HTTP/1.1.
pub fn post(address: SocketAddr, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Response> {
    request(address, "POST", path, headers, body)
}

/// Asks the server at `address` for `path`.
///
/// # Errors
///
/// As [`post`].
pub fn get(address: SocketAddr, path: &str) -> Result<Response> {
    request(address, "GET", path, &[], &[])
}

fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Response> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    exchange(address, head.as_bytes(), body).context(format_args!("{method} http://{address}{path}"))
}

fn exchange(address: SocketAddr, head: &[u8], body: &[u8]) -> Result<Response> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    // A server may answer and close before it has read everything (413): read its answer all the same.
    let sent = stream.write_all(head).and_then(|()| stream.write_all(body));
    read_response(&mut BufReader::new(stream)).or_else(|error| {
        sent?;
        Err(error)
    })
}

fn read_response(stream: &mut impl BufRead) -> Result<Response> {
    let status_line = read_line(stream)?;
    let status = status_line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.context(format_args!("not an HTTP status line: {status_line:?}"))?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(stream)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').context(format_args!("not a header: {line:?}"))?;
        headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut response = Response { status, headers, body: Vec::new() };
    response.body = if response.header("transfer-encoding").is_some_and(|coding| coding == "chunked") {
        read_chunks(stream)?
    } else {
        let length = response.header("content-length").and_then(|length| length.parse().ok());
        read_at_most(stream, length.unwrap_or(MAX_BODY).min(MAX_BODY))?
    };
    Ok(response)
}

fn read_chunks(stream: &mut impl BufRead) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = read_line(stream)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).context(format_args!("chunk size {size:?}"))?;
        if size == 0 {
            return Ok(body);
        }
        if body.len() as u64 + size > MAX_BODY {
            return Err(Error::new("the body is too long"));
        }
        body.extend(read_at_most(stream, size)?);
        read_line(stream)?;
    }
}

fn read_at_most(stream: &mut impl BufRead, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// One line without its end.
fn read_line(stream: &mut impl BufRead) -> Result<String> {
    let mut line = Vec::new();
    stream.take(64 << 10).read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(Error::new("the peer closed the connection within a line"));
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Response> {
        read_response(&mut text.as_bytes())
    }

    #[test]
    fn bodies_end_by_length_by_chunks_or_by_the_end_of_the_connection() {
        let by_length = parse("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef").unwrap();
        assert_eq!((by_length.status, by_length.text().as_str()), (200, "abc"));
        let chunked = parse(
            "HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\nRetry-After: 1\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
        );
        let chunked = chunked.unwrap();
        assert_eq!((chunked.text().as_str(), chunked.header("retry-after")), ("abcde", Some("1")));
        assert!(chunked.ok().is_err());
        assert_eq!(parse("HTTP/1.0 200 OK\r\n\r\nrest").unwrap().text(), "rest");
    }

    #[test]
    fn what_is_not_http_is_an_error() {
        for bad in ["", "garbage\r\n\r\n", "HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "HTTP/1.1 200 OK\r\n"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        assert!(parse("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n").is_err());
    }
}
