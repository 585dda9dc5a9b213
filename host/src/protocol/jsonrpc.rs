//! The JSON-RPC envelope: just enough of a message to route it.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// JSON-RPC 2.0 §5.1 and the codes MCP servers have always used.
pub mod code {
    pub const PARSE: i64 = -32700;
    pub const INVALID_REQUEST: i64 = -32600;
    pub const METHOD_NOT_FOUND: i64 = -32601;
    pub const INVALID_PARAMS: i64 = -32602;
    pub const INTERNAL: i64 = -32603;
    /// Anything the transport refuses (what the SDKs use).
    pub const TRANSPORT: i64 = -32000;
    /// Session not found (what the SDKs use).
    pub const SESSION: i64 = -32001;
    /// Resource not found, revisions up to 2025-11-25.
    pub const RESOURCE: i64 = -32002;
    /// Our own, outside every reserved range: the server went away while the
    /// call was under way, and the call may have run.
    pub const SERVER_LOST: i64 = -31001;
    /// Our own: the client took the request back.
    pub const CANCELLED: i64 = -31003;
    /// Our own: no replica could take the request; it has not run.
    pub const UNAVAILABLE: i64 = -31002;
    /// Our own: the server did not answer within the time that its
    /// configuration gives it.
    pub const TIMED_OUT: i64 = -31004;
}

/// One message, borrowed. Members that are not the envelope's are not looked at.
#[derive(Debug, Deserialize)]
pub struct Envelope<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    pub jsonrpc: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub method: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub result: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub error: Option<&'a RawValue>,
}

/// Borrows what has no escapes; serde's own `Option<Cow<str>>` copies.
fn text<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Cow<'de, str>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Borrowing<'a>(#[serde(borrow)] Cow<'a, str>);
    Ok(Option::<Borrowing<'_>>::deserialize(input)?.map(|text| text.0))
}

/// Keeps `null` apart from absent.
fn present<'de, D: Deserializer<'de>>(input: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(input).map(Some)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Request,
    Notification,
    Response,
}

/// Why a body is not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not JSON at all: -32700.
    #[error("Parse error: {0}")]
    Json(String),
    /// JSON, but no JSON-RPC 2.0 message: -32600.
    #[error("Invalid Request: {0}")]
    Message(&'static str),
}

impl Malformed {
    #[must_use]
    pub fn code(&self) -> i64 {
        match self {
            Self::Json(_) => code::PARSE,
            Self::Message(_) => code::INVALID_REQUEST,
        }
    }
}

impl<'a> Envelope<'a> {
    /// # Errors
    /// If the bytes are not one JSON-RPC 2.0 message. Duplicate members are
    /// refused: a reader that takes the first and one that takes the last must
    /// not see two different messages.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        // As a whole: serde looks only at the strings that it is asked for, and what is not asked
        // for goes to a server that may end at bytes which are no text.
        let text = std::str::from_utf8(bytes).map_err(|e| Malformed::Json(e.to_string()))?;
        match serde_json::from_str::<Self>(text) {
            Ok(envelope) => envelope.checked(),
            Err(error) => Err(why(text, &error)),
        }
    }

    fn checked(mut self) -> Result<Self, Malformed> {
        if self.jsonrpc.as_deref() != Some("2.0") {
            return Err(Malformed::Message("\"jsonrpc\" must be \"2.0\""));
        }
        // Sloppy servers write the absent one as null.
        let is_null = |value: Option<&RawValue>| value.is_some_and(|value| value.get() == "null");
        match (is_null(self.result), is_null(self.error)) {
            (_, true) if self.result.is_some() => self.error = None,
            (true, false) if self.error.is_some() => self.result = None,
            _ => {}
        }
        if self.result.is_some() && self.error.is_some() {
            return Err(Malformed::Message("\"result\" and \"error\" exclude each other"));
        }
        let answers = self.result.is_some() || self.error.is_some();
        if self.method.is_some() == answers {
            return Err(Malformed::Message(
                "either \"method\" or \"result\" or \"error\" is needed",
            ));
        }
        if let Some(id) = self.id {
            let first = id.get().as_bytes().first().copied().unwrap_or(b'n');
            let null_of_an_error = id.get() == "null" && self.error.is_some();
            if !matches!(first, b'"' | b'-' | b'0'..=b'9') && !null_of_an_error {
                return Err(Malformed::Message("\"id\" must be a string or a number"));
            }
        }
        Ok(self)
    }

    #[must_use]
    pub fn kind(&self) -> Kind {
        match (&self.method, self.id) {
            (Some(_), Some(_)) => Kind::Request,
            (Some(_), None) => Kind::Notification,
            (None, _) => Kind::Response,
        }
    }

    /// The method; "" for a response.
    #[must_use]
    pub fn method(&self) -> &str {
        self.method.as_deref().unwrap_or("")
    }

    /// The id's text as it stands in the message, quotes included.
    #[must_use]
    pub fn id_text(&self) -> Option<&'a str> {
        self.id.map(RawValue::get)
    }
}

fn why(text: &str, error: &serde_json::Error) -> Malformed {
    if serde_json::from_str::<&RawValue>(text).is_err() {
        return Malformed::Json(error.to_string());
    }
    match text.bytes().find(|b| !b.is_ascii_whitespace()) {
        Some(b'[') => Malformed::Message("batches are not part of this protocol revision"),
        Some(b'{') => Malformed::Message("a member is twice there or of the wrong type"),
        _ => Malformed::Message("a message is a JSON object"),
    }
}

/// `{"jsonrpc":"2.0","id":…,"result":…}` around a result that is JSON already.
#[must_use]
pub fn result(id: &str, result: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(id.len() + result.len() + 40);
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(b",\"result\":");
    out.extend_from_slice(result);
    out.push(b'}');
    out.into()
}

/// An error response; without an id it is `null`, as the SDKs expect.
#[must_use]
pub fn error(id: Option<&str>, code: i64, message: &str) -> Bytes {
    format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":{},\"error\":{{\"code\":{code},\"message\":{}}}}}",
        id.unwrap_or("null"),
        serde_json::Value::from(message)
    )
    .into()
}

/// A request of our own; `params` is JSON.
#[must_use]
pub fn request(id: &str, method: &str, params: &str) -> Bytes {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{method}\",\"params\":{params}}}")
        .into()
}

/// The messages of a batch; none if the body is no array
/// (2025-03-26, basic, "Batching").
///
/// # Errors
/// If it is no JSON, or an empty array.
pub fn batch(bytes: &[u8]) -> Result<Option<Vec<&RawValue>>, Malformed> {
    if bytes.iter().find(|b| !b.is_ascii_whitespace()) != Some(&b'[') {
        return Ok(None);
    }
    let messages: Vec<&RawValue> =
        serde_json::from_slice(bytes).map_err(|error| Malformed::Json(error.to_string()))?;
    if messages.is_empty() {
        return Err(Malformed::Message("a batch has at least one message"));
    }
    Ok(Some(messages))
}

/// A notification of our own without parameters.
#[must_use]
pub fn notification(method: &str) -> Bytes {
    format!("{{\"jsonrpc\":\"2.0\",\"method\":\"{method}\"}}").into()
}

/// The same with parameters, which are JSON.
#[must_use]
pub fn notification_with(method: &str, params: &str) -> Bytes {
    format!("{{\"jsonrpc\":\"2.0\",\"method\":\"{method}\",\"params\":{params}}}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(message: &str, expect: Result<Kind, i64>) {
        let got = Envelope::parse(message.as_bytes()).map(|e| e.kind()).map_err(|e| e.code());
        assert_eq!(got, expect, "{message}");
    }

    #[test]
    fn a_message_is_known_by_its_members() {
        check(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, Ok(Kind::Request));
        check(r#"{"jsonrpc":"2.0","method":"a/b","params":{"x":1}}"#, Ok(Kind::Notification));
        check(r#"{"id":"a","result":{},"jsonrpc":"2.0"}"#, Ok(Kind::Response));
        check(r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}"#, Ok(Kind::Response));
        check(r#"{"jsonrpc":"2.0","id":0,"result":null,"extra":[1]}"#, Ok(Kind::Response));
    }

    #[test]
    fn what_is_no_message_is_refused_with_the_right_code() {
        check("{", Err(code::PARSE));
        check("", Err(code::PARSE));
        check("{\"jsonrpc\":\"2.0\",\"method\":\"\u{0}\"}", Err(code::PARSE));
        check("[]", Err(code::INVALID_REQUEST));
        check("7", Err(code::INVALID_REQUEST));
        check(r#"{"id":1,"method":"ping"}"#, Err(code::INVALID_REQUEST));
        check(r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, Err(code::INVALID_REQUEST));
        check(r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, Err(code::INVALID_REQUEST));
        check(r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#, Err(code::INVALID_REQUEST));
        check(r#"{"jsonrpc":"2.0","id":1,"result":1,"error":{}}"#, Err(code::INVALID_REQUEST));
        check(r#"{"jsonrpc":"2.0","id":1}"#, Err(code::INVALID_REQUEST));
    }

    #[test]
    fn what_is_no_text_is_refused_wherever_it_stands() {
        for message in [
            &b"{\"jsonrpc\":\"2.0\",\"method\":\"x\",\"extra\":\"\xff\"}"[..],
            b"{\"jsonrpc\":\"2.0\",\"method\":\"x\",\"\xed\xa0\x80\":1}",
        ] {
            assert_eq!(Envelope::parse(message).unwrap_err().code(), code::PARSE);
        }
    }

    #[test]
    fn an_escaped_method_is_read_as_what_it_means() {
        let message = br#"{"jsonrpc":"2.0","id":1,"method":"tools\/call"}"#;
        assert_eq!(Envelope::parse(message).unwrap().method(), "tools/call");
    }

    #[test]
    fn an_error_text_is_escaped() {
        let bytes = error(Some("\"a\""), -1, "say \"no\"\n");
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["error"]["message"], "say \"no\"\n");
        assert_eq!(value["id"], "a");
    }
}
