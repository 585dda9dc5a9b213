//! Ids of events: an instance, one of its streams, and the place in it.
//!
//! ```text
//! 8f3a01c2-7-12-MQ        instance, stream, number, the request it answers
//! ```
//!
//! The request's id is included, so that a client that comes back after the stream is gone, with
//! its process or after its time, can still get an answer to that request.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

/// The longest request id that is included, in bytes: an event id is in every event.
const MAX_REQUEST: usize = 64;

/// A parsed event id, as a client returns it in `Last-Event-ID`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventId {
    /// The instance that keeps the stream; see [`instance`].
    pub instance: u32,
    /// The stream's number within its instance; 0 is [`Self::GET`].
    pub stream: u64,
    /// The message's number within its stream; 0 is the event that primes it.
    pub number: u64,
    /// The id of the request that the stream answers, as written in the message.
    pub request: Option<String>,
}

impl EventId {
    /// The number of a session's GET stream, which answers no request.
    pub const GET: u64 = 0;

    /// `None` if the text is not an id that [`Tag::id`] may have written.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, '-');
        let instance = u32::from_str_radix(parts.next()?, 16).ok()?;
        let stream = parts.next()?.parse().ok()?;
        let number = parts.next()?.parse().ok()?;
        let request = match parts.next() {
            None => None,
            Some(tag) => Some(String::from_utf8(BASE64.decode(tag).ok()?).ok()?),
        };
        // It is copied into an answer as it is, on one line.
        if let Some(request) = &request {
            serde_json::from_str::<serde_json::Value>(request)
                .ok()
                .filter(|id| (id.is_string() || id.is_number()) && request.trim() == request)?;
        }
        Some(Self { instance, stream, number, request })
    }
}

/// The parts that all event ids of one stream share.
#[derive(Debug, Clone)]
pub struct Tag {
    head: String,
    tail: String,
}

impl Tag {
    /// A request id of more than 64 bytes is left out.
    #[must_use]
    pub fn new(instance: u32, stream: u64, request: Option<&str>) -> Self {
        let tail = request
            .filter(|request| request.len() <= MAX_REQUEST)
            .map(|request| format!("-{}", BASE64.encode(request)))
            .unwrap_or_default();
        Self { head: format!("{instance:08x}-{stream}-"), tail }
    }

    /// The id of the event with this message.
    #[must_use]
    pub fn id(&self, number: u64) -> String {
        format!("{}{number}{}", self.head, self.tail)
    }
}

/// A random number for a new instance.
#[must_use]
pub fn instance() -> u32 {
    let mut bytes = [0; 4];
    // It distinguishes the instances of one session and protects no secret: without
    // randomness, process id and time are good enough.
    match getrandom::fill(&mut bytes) {
        Ok(()) => u32::from_le_bytes(bytes),
        Err(_) => std::process::id() ^ crate::model::UnixMillis::now().0 as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_where_it_is_from() {
        let id = |request: Option<&str>| Tag::new(0xab, 7, request).id(12);
        for request in [None, Some("1"), Some("\"a-b\""), Some("\"\u{e4}\"")] {
            let expect =
                EventId { instance: 0xab, stream: 7, number: 12, request: request.map(Into::into) };
            assert_eq!(EventId::parse(&id(request)), Some(expect));
        }
        assert_eq!(id(None), "000000ab-7-12");
        let long = "9".repeat(MAX_REQUEST + 1);
        assert_eq!(EventId::parse(&id(Some(&long))).unwrap().request, None);
    }

    #[test]
    fn what_is_no_id_of_ours_is_none() {
        for text in ["", "1", "a-b-c", "1-2-3-4-5-%", "zz-1-1", "1-1-1-e30", "1-1-1-MQo", "1-1--1"]
        {
            assert_eq!(EventId::parse(text), None, "{text}");
        }
    }
}
