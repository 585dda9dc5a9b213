//! The seam between edge and host: one HTTP exchange, `http::Request` to
//! `http::Response`, whether the host is this process or another one.
//!
//! ```text
//! edge ── Link ──┬── Endpoint::call        (this process, a function call)
//!                └── Pool ── /cluster/servers/{server}/mcp   (another node)
//! ```
//!
//! What the host must know beyond the client's message are the [`Facts`]: an
//! argument inside the process, `mooring-*` headers between processes. What
//! became of a message that got no answer is the [`Outcome`]; only that decides
//! whether the edge may send it again.

mod body;

mod exchange;
mod facts;
mod link;
mod message;
mod note;
#[cfg(test)]
mod peer;
mod pool;
mod socket;
mod target;

pub use body::{Body, BodyError, Cut, TooLong, Why, collect};
pub use facts::{Facts, Handshake, Outcome, Start};
pub use link::{Endpoint, Link};
pub use message::{Message, Written, WrittenHead};
pub use note::Note;
pub use pool::{Connection, Failure, Pool, Sending, Unanswered};
pub use target::Target;

/// Of what coordinator and nodes say to each other: raised with each change that
/// an older one would misread.
pub const REVISION: u32 = 1;

/// Path under which a node serves one server to its coordinator.
#[must_use]
pub fn server_path(server: &crate::model::ServerName, tail: &str) -> String {
    format!("/cluster/servers/{}/{tail}", percent_encoded(server.as_str()))
}

/// Everything but RFC 3986's unreserved characters as `%XX`.
#[must_use]
pub fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// None if a `%` is not followed by two hexadecimal digits or the bytes are not
/// UTF-8.
#[must_use]
pub fn percent_decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digit = |b: u8| char::from(b).to_digit(16);
        let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
        out.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_survives_its_way_through_a_path() {
        for name in ["plain", "with space", "ü%/?#", "100%"] {
            assert_eq!(percent_decoded(&percent_encoded(name)).as_deref(), Some(name));
        }
        assert_eq!(percent_decoded("%zz"), None);
        assert_eq!(percent_decoded("%f"), None);
        assert_eq!(percent_decoded("%ff"), None);
    }
}
