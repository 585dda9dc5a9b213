//! HTTP/1.1 as a client writes and reads it (RFC 9112); no IO.
//!
//! Clients are served through hyper. Towards nodes and upstreams every exchange is one request
//! and one response on a connection that is not shared. That needs much less than hyper's client
//! offers, which took a quarter of a call.

mod body;
mod request;
mod response;

pub use body::{BodyDecoder, Step};
pub use request::{Framing, end as request_end, header_line, lines as request_lines};
pub use response::{Head, MAX_HEAD, Scan};

/// Why a response cannot be read. Its connection is unusable then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResponseFault {
    /// No end of the head within [`MAX_HEAD`] bytes.
    #[error("the head of the response is larger than {MAX_HEAD} bytes")]
    LargeHead,
    /// The head does not follow the grammar of RFC 9112, or there are too many interim
    /// responses; the text says which.
    #[error("the response is not HTTP/1: {0}")]
    Malformed(String),
    /// Not a number, or two different ones (RFC 9112 §6.3).
    #[error("the response has an invalid Content-Length, or two different ones")]
    Length,
    /// The transfer coding, which is neither `chunked` nor `identity`: the request asked for
    /// no other.
    #[error("the response has the transfer coding {0:?}, which was not requested")]
    Coding(String),
    /// Status 101: no request asks for an upgrade.
    #[error("the response switches protocols (status 101), which was not requested")]
    Upgrade,
    /// A byte that RFC 9112 §7.1 does not allow at its place.
    #[error("a chunk of the response is malformed")]
    Chunk,
    /// The limit, in bytes, for the whole body.
    #[error("the response has more than {0} bytes of chunk extensions and trailers")]
    LargeChunkHead(usize),
}
