//! Server-sent events: encoder and incremental decoder (WHATWG HTML, "Server-sent events").

use bytes::{BufMut, Bytes, BytesMut};

/// A comment for silent streams, so that no proxy on the way to the client closes them.
pub const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";

/// One message as one event. The message must not contain raw line breaks.
#[must_use]
pub fn event(message: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(message.len() + 24);
    out.put_slice(b"event: message\ndata: ");
    out.put_slice(message);
    out.put_slice(b"\n\n");
    out.freeze()
}

/// Like [`event`], with an id after which a client can resume the stream.
#[must_use]
pub fn event_with_id(id: &str, message: &[u8]) -> Bytes {
    named_event("message", id, message)
}

/// The same, as an event of another name.
#[must_use]
pub fn named_event(name: &str, id: &str, message: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(id.len() + name.len() + message.len() + 25);
    out.put_slice(b"id: ");
    out.put_slice(id.as_bytes());
    out.put_slice(b"\nevent: ");
    out.put_slice(name.as_bytes());
    out.put_slice(b"\ndata: ");
    out.put_slice(message);
    out.put_slice(b"\n\n");
    out.freeze()
}

/// An event without data that gives the client an id to resume from, and the milliseconds
/// after which to reconnect (2025-11-25, basic/transports, "Sending Messages to the Server").
#[must_use]
pub fn priming(id: &str, retry_ms: Option<u64>) -> Bytes {
    let retry = retry_ms.map(|ms| format!("retry: {ms}\n")).unwrap_or_default();
    format!("id: {id}\n{retry}data: \n\n").into()
}

/// The first event of an HTTP+SSE stream: the path that the client posts to (2024-11-05,
/// basic/transports). The id is that with which it comes back when the stream breaks off, after so
/// many milliseconds.
#[must_use]
pub fn endpoint(path: &str, id: &str, retry_ms: u64) -> Bytes {
    format!("event: endpoint\ndata: {path}\nid: {id}\nretry: {retry_ms}\n\n").into()
}

/// A decoded event. One that sets only an id or a retry time is an event too.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// The event's type; empty stands for `message`.
    pub name: String,
    /// Its `data` lines, joined by LF; not checked for UTF-8.
    pub data: Vec<u8>,
    /// The id that this event sets; that of an earlier event is not repeated.
    pub id: Option<String>,
    /// Milliseconds after which to reconnect.
    pub retry: Option<u64>,
}

impl Event {
    /// Whether it carries a message: events of other names are not MCP's, unless some server has
    /// named those of its messages so, and those without data only prime a stream (2025-11-25,
    /// basic/transports, "Resumability and Redelivery").
    #[must_use]
    pub fn has_message(&self) -> bool {
        match self.name.as_str() {
            "" | "message" => !self.data.is_empty(),
            _ => {
                let begins = self.data.trim_ascii_start().starts_with(b"{");
                begins && memchr::memmem::find(&self.data, b"\"jsonrpc\"").is_some()
            }
        }
    }
}

/// An event has outgrown the decoder's limit, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an event is larger than {0} bytes")]
pub struct TooLarge(pub usize);

/// Turns bytes, as they arrive, into whole events.
#[derive(Debug)]
pub struct EventDecoder {
    line: Vec<u8>,
    event: Event,
    has_data: bool,
    /// The last byte was a CR: an LF that follows belongs to it.
    after_cr: bool,
    /// No line has ended yet: it may begin with a byte order mark.
    at_start: bool,
    limit: usize,
}

impl EventDecoder {
    /// `limit` bounds the data of one event and its unfinished line, together and in bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            line: Vec::new(),
            event: Event::default(),
            has_data: false,
            after_cr: false,
            at_start: true,
            limit,
        }
    }

    /// Decodes the next bytes, and passes each event that they complete to `on`.
    ///
    /// # Errors
    /// If an event outgrows the limit; the decoder is unusable after that.
    pub fn feed(&mut self, mut bytes: &[u8], mut on: impl FnMut(Event)) -> Result<(), TooLarge> {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_cr) && bytes.first() == Some(&b'\n') {
                bytes = bytes.get(1..).unwrap_or_default();
                continue;
            }
            let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) else {
                self.line.extend_from_slice(bytes);
                return self.check();
            };
            let (head, rest) = bytes.split_at(end);
            self.line.extend_from_slice(head);
            self.after_cr = rest.first() == Some(&b'\r');
            bytes = rest.get(1..).unwrap_or_default();
            self.check()?;
            if let Some(event) = self.end_of_line() {
                on(event);
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), TooLarge> {
        let size = self.line.len() + self.event.data.len();
        if size > self.limit { Err(TooLarge(self.limit)) } else { Ok(()) }
    }

    fn end_of_line(&mut self) -> Option<Event> {
        let mut line = std::mem::take(&mut self.line);
        if std::mem::take(&mut self.at_start) && line.starts_with(b"\xef\xbb\xbf") {
            line.drain(..3);
        }
        if line.is_empty() {
            return self.dispatch();
        }
        let (field, value) = match memchr::memchr(b':', &line) {
            Some(colon) => (line.get(..colon), line.get(colon + 1..)),
            None => (line.get(..), None),
        };
        let value = value.unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field.unwrap_or_default() {
            b"data" => {
                if self.has_data {
                    self.event.data.push(b'\n');
                }
                self.event.data.extend_from_slice(value);
                self.has_data = true;
            }
            b"event" => self.event.name = String::from_utf8_lossy(value).into_owned(),
            b"id" if !value.contains(&0) => {
                self.event.id = Some(String::from_utf8_lossy(value).into_owned());
            }
            b"retry" => self.event.retry = milliseconds(value).or(self.event.retry),
            _ => {}
        }
        // The next line reuses the buffer.
        line.clear();
        self.line = line;
        None
    }

    fn dispatch(&mut self) -> Option<Event> {
        let event = std::mem::take(&mut self.event);
        let meant =
            std::mem::take(&mut self.has_data) || event.id.is_some() || event.retry.is_some();
        meant.then_some(event)
    }
}

/// A number of digits only; a line with anything else is ignored.
fn milliseconds(value: &[u8]) -> Option<u64> {
    let digits = value.iter().all(u8::is_ascii_digit).then_some(value)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(chunks: &[&[u8]]) -> Vec<Event> {
        let mut decoder = EventDecoder::new(1 << 20);
        let mut events = Vec::new();
        for chunk in chunks {
            decoder.feed(chunk, |event| events.push(event)).unwrap();
        }
        events
    }

    fn data(text: &str) -> Event {
        Event { data: text.into(), ..Event::default() }
    }

    #[test]
    fn line_ends_comments_and_a_byte_order_mark_are_understood() {
        let stream =
            b"\xef\xbb\xbf: hello\r\n\r\ndata: a\r\rdata:b\ndata: c\n\nevent: ping\ndata\n\n";
        let whole = decode(&[stream]);
        assert_eq!(whole[0], data("a"));
        assert_eq!(whole[1], data("b\nc"));
        assert_eq!(whole[2], Event { name: "ping".into(), ..data("") });
        let bytewise: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(decode(&bytewise), whole);
    }

    #[test]
    fn a_priming_event_has_an_id_and_no_data() {
        let events = decode(&[b"id: 7\ndata:\n\nretry: 100\n\n"]);
        assert_eq!(events[0], Event { id: Some("7".into()), ..data("") });
        assert_eq!(events[1], Event { retry: Some(100), ..Event::default() });
    }

    #[test]
    fn a_retry_time_is_digits_and_nothing_else_replaces_it() {
        let retry = |text: &str| {
            let events = decode(&[text.as_bytes(), b"\n\n"]);
            events.first().and_then(|event| event.retry)
        };
        assert_eq!(retry("retry: 5"), Some(5));
        assert_eq!(retry("retry: +5"), None);
        assert_eq!(retry("retry:"), None);
        assert_eq!(retry("retry: 5\nretry: soon"), Some(5));
    }

    #[test]
    fn a_message_is_one_under_any_name() {
        for (name, data, has) in [
            ("", "{}", true),
            ("message", "x", true),
            ("message", "", false),
            ("response", r#" {"jsonrpc":"2.0","id":1,"result":{}}"#, true),
            ("ping", "2024-01-01", false),
            ("ping", "{}", false),
            ("endpoint", "/messages?jsonrpc", false),
        ] {
            let event = Event { name: name.into(), ..self::data(data) };
            assert_eq!(event.has_message(), has, "{name} {data}");
        }
    }

    #[test]
    fn an_unfinished_event_is_not_given() {
        assert_eq!(decode(&[b"data: a\n"]), []);
    }

    #[test]
    fn what_is_encoded_comes_back() {
        let bytes = event(br#"{"a":"b"}"#);
        let events = decode(&[&bytes]);
        assert_eq!(events[0].data, br#"{"a":"b"}"#);
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut decoder = EventDecoder::new(10);
        assert_eq!(decoder.feed(b"data: 0123456789", |_| ()), Err(TooLarge(10)));
    }
}
