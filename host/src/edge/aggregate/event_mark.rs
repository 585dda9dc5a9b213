//! Marks the events of a request's stream with what its client may use, where that is a part of the
//! server: a request was judged when it came in, and its stream may be resumed by another token of the
//! same principal, which may use less.
//!
//! The mark is the gateway's own, of the session, the server, the stream and the rights. So nobody can
//! make up one, or put that of a stream of its own on another one.

use crate::model::{ServerName, SessionId};
use crate::protocol::proof::mac;
use crate::streams::EventId;

/// Bytes of a mark.
const LENGTH: usize = 8;

/// Marks the events of one server's streams for one session and one client's rights.
#[derive(Debug, Clone)]
pub struct EventMark {
    key: [u8; 32],
}

impl EventMark {
    /// `rights` is the digest of what the client may use.
    #[must_use]
    pub fn new(signing_key: &[u8], session: SessionId, server: &ServerName, rights: u64) -> Self {
        let session = session.to_string();
        let parts: [&[u8]; 4] =
            [b"event", session.as_bytes(), server.as_str().as_bytes(), &rights.to_be_bytes()];
        Self { key: mac::of_texts(signing_key, &parts) }
    }

    /// The mark of the stream that an event belongs to, by the runner's own id of the event. `None` if
    /// it is no id of a stream.
    #[must_use]
    pub fn of(&self, own: &str) -> Option<String> {
        let place = EventId::parse(own)?;
        let stream = format!("{}-{}", place.instance, place.stream);
        let request = place.request.unwrap_or_default();
        let code = mac::of_texts(&self.key, &[stream.as_bytes(), request.as_bytes()]);
        Some(mac::hex(code.get(..LENGTH)?))
    }

    /// Whether an event has this mark.
    #[must_use]
    pub fn is_on(&self, own: &str, mark: Option<&str>) -> bool {
        let expect = self.of(own);
        expect.zip(mark).is_some_and(|(expect, mark)| {
            bool::from(subtle::ConstantTimeEq::ct_eq(expect.as_bytes(), mark.as_bytes()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::Tag;

    #[test]
    fn a_mark_is_good_for_one_stream_of_one_session_and_these_rights() {
        let server = |name: &str| ServerName::parse(name).unwrap();
        let session = SessionId::mint();
        let mark = |session, name: &str, rights| {
            EventMark::new(b"the gateway's key", session, &server(name), rights)
        };
        let event = |stream, number, request: &str| Tag::new(7, stream, Some(request)).id(number);
        let own = mark(session, "a", 1);
        let on_it = own.of(&event(3, 1, "9"));
        let has = |mark: &EventMark, event: &str| mark.is_on(event, on_it.as_deref());
        assert!(has(&own, &event(3, 1, "9")) && has(&own, &event(3, 8, "9")));
        assert!(!own.is_on(&event(3, 1, "9"), None));
        for other in [event(4, 1, "9"), event(3, 1, "8"), "x".to_owned()] {
            assert!(!has(&own, &other), "{other}");
        }
        let others =
            [mark(session, "a", 2), mark(session, "b", 1), mark(SessionId::mint(), "a", 1)];
        for other in &others {
            assert!(!has(other, &event(3, 1, "9")));
        }
    }
}
