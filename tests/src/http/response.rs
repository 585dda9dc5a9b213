//! A response that has arrived completely.

use serde_json::Value;

use crate::sse::{self, Event};

/// A whole response.
#[derive(Debug, Clone, Default)]
pub struct Response {
    pub status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.header_values(name).first().copied()
    }

    #[must_use]
    pub fn header_values(&self, name: &str) -> Vec<&str> {
        let name = name.to_ascii_lowercase();
        let same = self.headers.iter().filter(|(known, _)| *known == name);
        same.map(|(_, value)| value.as_str()).collect()
    }

    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("{} with no JSON ({error}): {}", self.status, self.text())
        })
    }

    #[must_use]
    pub fn is_event_stream(&self) -> bool {
        self.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"))
    }

    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        let mut body = self.body.as_slice();
        std::iter::from_fn(|| sse::next(&mut body as &mut &[u8])).collect()
    }

    /// The JSON-RPC messages in it, however they are framed.
    #[must_use]
    pub fn messages(&self) -> Vec<Value> {
        if self.is_event_stream() {
            self.events().iter().map(Event::json).collect()
        } else {
            vec![self.json()]
        }
    }

    /// The `error.code` of a JSON-RPC error.
    #[must_use]
    pub fn error_code(&self) -> i64 {
        let body = self.json();
        body["error"]["code"].as_i64().unwrap_or_else(|| panic!("no JSON-RPC error: {body}"))
    }

    /// The `error.message` of a JSON-RPC error.
    #[must_use]
    pub fn error_message(&self) -> String {
        let body = self.json();
        let message = body["error"]["message"].as_str();
        message.unwrap_or_else(|| panic!("no JSON-RPC error: {body}")).to_owned()
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }
}
