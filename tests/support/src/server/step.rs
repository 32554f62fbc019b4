//! What a server is told to do.

use std::time::Duration;

/// What the server does with one request. When the script is over, it takes what comes.
#[derive(Clone, Debug)]
pub enum Step {
    /// Takes it: 200 with an empty body.
    Take,
    /// Takes it after so long.
    TakeAfter(Duration),
    /// Takes it but for so many profiles, and says why.
    TakePartly(i64, &'static str),
    /// Takes it, and answers with this type and body.
    TakeWith(&'static str, Vec<u8>),
    /// Takes it, and answers with as many bytes as the client has patience for, or [`POURED_AT_MOST`].
    TakeAndPour,
    /// Takes it, but closes the connection in the middle of its answer.
    TakeAndCutAnswer,
    /// Takes it, and says nothing until the server goes away.
    TakeAndHang,
    /// Answers with this status, these header lines and this body.
    Refuse(u16, &'static str, Vec<u8>),
    /// Refuses with 413 what has more than so many samples, and takes the rest, for all requests from here on.
    RefuseAbove(usize),
    /// Reads the head of the request, a little of the body, and closes the connection.
    CutRequest,
    /// Reads the request, and closes the connection without an answer.
    CutAnswer,
    /// Reads the request and says nothing until the server goes away.
    Hang,
    /// Answers in another protocol.
    Babble,
}

/// Far more than fits into the buffers of two sockets.
pub const POURED_AT_MOST: usize = 256 << 20;
