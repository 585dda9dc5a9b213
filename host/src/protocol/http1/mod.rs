//! HTTP/1.1 as a client writes and reads it (RFC 9112); no IO.
//!
//! Servers face clients through hyper. Towards nodes and upstreams every exchange
//! is one request with one response on a connection that nobody shares, which
//! takes much less than hyper's client offers: it was a quarter of a call.

mod body;
mod request;
mod response;

pub use body::{Decoder, Step};
pub use request::{Framing, end as request_end, lines as request_lines};
pub use response::{Head, MAX_HEAD, Scan};

/// What a server may not say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("the head of the response is larger than {MAX_HEAD} bytes")]
    LargeHead,
    #[error("the response is not HTTP/1: {0}")]
    Malformed(String),
    #[error("the response has a Content-Length that is none")]
    Length,
    #[error("the response has the transfer coding {0:?}, which nobody asked for")]
    Coding(String),
    #[error("the response changes the protocol, which nobody asked for")]
    Upgrade,
    #[error("a chunk of the response is malformed")]
    Chunk,
    #[error("the response's chunks have more than {0} bytes beside the data")]
    LargeChunkHead(usize),
}
