//! Requests without a session as nearly all programs write them, read in one pass: the message, what it
//! says of itself in `_meta`, and the headers that repeat it.
//!
//! A server that has no sessions either gets such a request as it came, and its client is refused as
//! `ladder` says. To read a message for both, member by member, takes ten times as long. What is read
//! here is what [`Envelope::parse_strictly`], [`ladder::era`] and the check of progress tokens would let
//! pass; all other requests are left to them, and so is every refusal.
//!
//! [`Envelope::parse_strictly`]: crate::protocol::jsonrpc::Envelope::parse_strictly
//! [`ladder::era`]: super::ladder::era

use http::HeaderMap;

use crate::protocol::headers::{METHOD, NAME, PROTOCOL_VERSION, is_stateless};
use crate::protocol::jsonrpc::MAX_ID;
use crate::protocol::members::is_lookalike;
use crate::protocol::methods::INITIALIZE;
use crate::protocol::scan::Scan;

use super::claim::MetaMembers;
use super::field::is_plain;
use super::methods::{LISTEN, named_by};
use super::{REVISION, meta};

/// A request, whose headers say what it says. Its texts are those of the message, without escapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsualRequest<'a> {
    /// As JSON: a string or a whole number.
    pub id: &'a str,
    /// Not one that is answered for as long as its client listens.
    pub method: &'a str,
    /// The tool, prompt or resource, where the method has one.
    pub named: Option<&'a str>,
}

/// Members of `_meta` up to their values; of the first, which has one value alone, with this.
const VERSION: &[u8] = br#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#;
const CAPABILITIES: &[u8] = br#""io.modelcontextprotocol/clientCapabilities":"#;
const CLIENT: &[u8] = br#""io.modelcontextprotocol/clientInfo":"#;

impl<'a> UsualRequest<'a> {
    /// `None` if the message may be any other, or the headers may say anything else.
    #[must_use]
    pub fn of(message: &'a [u8], headers: &HeaderMap) -> Option<Self> {
        let request = Self::of_text(std::str::from_utf8(message).ok()?)?;
        request.is_repeated_by(headers).then_some(request)
    }

    fn of_text(text: &'a str) -> Option<Self> {
        let mut scan = Scan::of(text);
        let (mut id, mut method, mut params) = (None, None, None);
        let mut mark = None;
        scan.each_member(|scan| {
            if scan.takes(br#""jsonrpc":"2.0""#) {
                once(&mut mark, Some(()))
            } else if scan.takes(br#""id":"#) {
                once(&mut id, scan.value())
            } else if scan.takes(br#""method":"#) {
                once(&mut method, scan.plain_string())
            } else if scan.takes(br#""params":"#) {
                once(&mut params, Params::of(scan))
            } else {
                None
            }
        })?;
        if !scan.is_at_end() {
            return None;
        }
        let ((), id, method, params) = (mark?, id?, method?, params?);
        if !is_usual_id(id) || matches!(method, INITIALIZE | LISTEN) {
            return None;
        }
        let named = match named_by(method) {
            None => None,
            Some("name") => Some(params.name?),
            Some("uri") => Some(params.uri?),
            Some(_) => return None,
        };
        Some(Self { id, method, named })
    }

    /// Whether the headers repeat it word for word, and nothing else.
    fn is_repeated_by(&self, headers: &HeaderMap) -> bool {
        let mut said = [false; 3];
        for (name, value) in headers {
            let (place, text) = if !is_stateless(name) {
                continue;
            } else if *name == PROTOCOL_VERSION {
                (&mut said[0], Some(REVISION))
            } else if *name == METHOD {
                (&mut said[1], Some(self.method))
            } else if *name == NAME {
                (&mut said[2], self.named)
            } else {
                return false;
            };
            // What is not plain, or may be a code, stands for another text.
            let is_same = |text: &str| value.as_bytes() == text.as_bytes() && is_plain(text);
            if std::mem::replace(place, true) || !text.is_some_and(is_same) {
                return false;
            }
        }
        said == [true, true, self.named.is_some()]
    }
}

/// What is read of parameters.
#[derive(Debug, Default, Clone, Copy)]
struct Params<'a> {
    name: Option<&'a str>,
    uri: Option<&'a str>,
}

impl<'a> Params<'a> {
    /// `None` if there is anything in them that others have to judge.
    fn of(scan: &mut Scan<'a>) -> Option<Self> {
        let mut read = Self::default();
        let (mut arguments, mut cursor, mut meta) = (None, None, None);
        scan.each_member(|scan| {
            if scan.takes(br#""name":"#) {
                once(&mut read.name, scan.plain_string())
            } else if scan.takes(br#""arguments":"#) {
                once(&mut arguments, scan.value())
            } else if scan.takes(br#""_meta":"#) {
                once(&mut meta, is_usual_claim(scan))
            } else if scan.takes(br#""uri":"#) {
                once(&mut read.uri, scan.plain_string())
            } else if scan.takes(br#""cursor":"#) {
                once(&mut cursor, scan.value())
            } else {
                None
            }
        })?;
        meta.map(|()| read)
    }
}

/// Passes a `_meta` that says what it has to, and nothing that the gateway itself has to know.
fn is_usual_claim(scan: &mut Scan<'_>) -> Option<()> {
    let (mut version, mut capabilities, mut client, mut token) = (None, None, None, None);
    scan.each_member(|scan| {
        // The three that nearly every request has, as they are written.
        if scan.takes(VERSION) {
            return once(&mut version, Some(()));
        }
        if scan.takes(CAPABILITIES) {
            let is_object =
                scan.takes(b"{}") || scan.value().is_some_and(|value| value.starts_with('{'));
            return once(&mut capabilities, is_object.then_some(()));
        }
        if scan.takes(CLIENT) {
            return once(&mut client, is_client(scan));
        }
        match scan.member_name()? {
            "progressToken" => once(&mut token, scan.value().filter(|token| is_usual_id(token))),
            // The first with another revision than the one that is served.
            meta::VERSION | meta::LOG_LEVEL | meta::CONVERSATION => None,
            other => {
                scan.value()?;
                (!is_lookalike(other, MetaMembers::NAMES)).then_some(())
            }
        }
    })?;
    version.and(capabilities).map(|_| ())
}

/// Passes an object with a name and a version.
fn is_client(scan: &mut Scan<'_>) -> Option<()> {
    let (mut name, mut version) = (None, None);
    scan.each_member(|scan| {
        if scan.takes(br#""name":"#) {
            return once(&mut name, scan.plain_string());
        }
        if scan.takes(br#""version":"#) {
            return once(&mut version, scan.plain_string());
        }
        scan.member_name()?;
        scan.value().map(|_| ())
    })?;
    name.and(version).map(|_| ())
}

/// Keeps what was read of a member that has not come before.
fn once<T>(place: &mut Option<T>, read: Option<T>) -> Option<()> {
    if place.is_some() {
        return None;
    }
    *place = read;
    place.is_some().then_some(())
}

/// Whether an id, or a progress token, is a string without escapes or a whole number, and not too long.
fn is_usual_id(id: &str) -> bool {
    let is_usual = match id.as_bytes().first() {
        Some(b'"') => !id.contains('\\'),
        _ => id.strip_prefix('-').unwrap_or(id).bytes().all(|byte| byte.is_ascii_digit()),
    };
    is_usual && id.len() <= MAX_ID
}

#[cfg(test)]
mod tests;
