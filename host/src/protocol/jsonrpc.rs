//! The JSON-RPC envelope: the members of a message that are needed to route it.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::model::visible::page;

use super::members::members;
use super::usual_message::UsualMessage;
use super::{methods, splice};

/// Bytes of the message of an error that the gateway makes.
const MAX_ERROR_TEXT: usize = 2048;

/// The longest id of a request and the longest progress token, in bytes as written. They are kept
/// while the request is under way.
pub const MAX_ID: usize = 1024;
/// The longest id of a response. An aggregate writes a server's id as a string of its own, with the
/// server's name behind it.
pub const MAX_ANSWERED_ID: usize = 4 * MAX_ID;

/// Error codes: those of JSON-RPC 2.0 (§5.1), those that MCP implementations share, and
/// Mooring's, which are outside of every reserved range.
pub mod code {
    /// The body is not JSON.
    pub const PARSE: i64 = -32700;
    /// The body is JSON, but not a message that is allowed here.
    pub const INVALID_REQUEST: i64 = -32600;
    /// The receiver does not have the method.
    pub const METHOD_NOT_FOUND: i64 = -32601;
    /// The parameters do not fit the method, or name nothing that exists.
    pub const INVALID_PARAMS: i64 = -32602;
    /// A failure that is not the sender's.
    pub const INTERNAL: i64 = -32603;
    /// A refusal by the transport, as in the SDKs.
    pub const TRANSPORT: i64 = -32000;
    /// Session not found, as in the SDKs.
    pub const SESSION: i64 = -32001;
    /// Resource not found, in revisions up to 2025-11-25.
    pub const RESOURCE: i64 = -32002;
    /// A header says something else than the body (2026-07-28, basic, "Error Codes").
    pub const HEADER_MISMATCH: i64 = -32020;
    /// The client has not declared a capability that the request takes (there).
    pub const MISSING_CAPABILITY: i64 = -32021;
    /// The revision is not served (there).
    pub const UNSUPPORTED_VERSION: i64 = -32022;
    /// A client of a session has to open a URL first (2025-11-25, client/elicitation).
    pub const URL_REQUIRED: i64 = -32042;
    /// Mooring's: the server went away while the call was under way, and the call may have
    /// run.
    pub const SERVER_LOST: i64 = -31001;
    /// Mooring's: the client cancelled the request.
    pub const CANCELLED: i64 = -31003;
    /// Mooring's: no replica could take the request; it has not run.
    pub const UNAVAILABLE: i64 = -31002;
    /// Mooring's: the server did not answer within the time that its configuration allows.
    pub const TIMED_OUT: i64 = -31004;
    /// Mooring's: a limit of the operator's is met; the request has not run.
    pub const LIMITED: i64 = -31005;
}

members! {
    /// The members of a message that are read.
    struct RawEnvelope {
        /// `2.0`.
        jsonrpc = "jsonrpc",
        /// A string or a number.
        id = "id",
        /// A string.
        method = "method",
        /// An object.
        params = "params",
        /// Any value.
        result = "result",
        /// An object.
        error = "error",
    }
}

/// One message, borrowed. Other members are skipped.
#[derive(Debug)]
pub struct Envelope<'a> {
    /// A string or a number as it was written; `null` in errors only.
    pub id: Option<&'a RawValue>,
    /// Present in requests and notifications, without its escapes.
    pub method: Option<Cow<'a, str>>,
    /// As written; `Some` of `null` if it is written as `null`.
    pub params: Option<&'a RawValue>,
    /// Present in successful responses, possibly as `null`.
    pub result: Option<&'a RawValue>,
    /// Present in responses without a result.
    pub error: Option<&'a RawValue>,
    /// Whether another reader may see another message: see [`Self::has_one_meaning`].
    pub is_ambiguous: bool,
    /// Whether a member is spelled like one that counts.
    pub has_lookalike: bool,
}

/// The kind of a message, by its members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `method` and `id`: exactly one response is due.
    Request,
    /// `method` without `id`: never answered.
    Notification,
    /// `result` or `error`.
    Response,
}

/// Why a body is not a message. The client reads the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not JSON, or not UTF-8: -32700.
    #[error("Parse error: {0}")]
    Json(String),
    /// JSON, but not a JSON-RPC 2.0 message: -32600.
    #[error("Invalid Request: {0}")]
    Message(&'static str),
}

const WRONG_MEMBER: &str = "a member is duplicate or has the wrong type";
const LONG_ID: &str = "\"id\" is longer than 1024 bytes";
const LONG_TOKEN: &str = "the progress token is longer than 1024 bytes";
const AMBIGUOUS: &str = "another reader may see another message: a member is spelled like one of JSON-RPC but for its case, a method is null, a result stands beside an error, or an id is neither a string nor a whole number";

impl Malformed {
    /// The message is one, but [`Envelope::has_one_meaning`] does not hold.
    #[must_use]
    pub fn ambiguous() -> Self {
        Self::Message(AMBIGUOUS)
    }

    /// The request asks for progress under a token that is too long to be kept.
    #[must_use]
    pub fn long_token() -> Self {
        Self::Message(LONG_TOKEN)
    }

    /// The code of the error that answers the body.
    #[must_use]
    pub fn code(&self) -> i64 {
        match self {
            Self::Json(_) => code::PARSE,
            Self::Message(_) => code::INVALID_REQUEST,
        }
    }
}

impl<'a> Envelope<'a> {
    /// Reads one message; its bytes stay where they are.
    ///
    /// # Errors
    /// If the bytes are not one JSON-RPC 2.0 message. Duplicate members of the envelope are
    /// refused: a reader that takes the first and one that takes the last must not see two
    /// different messages.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        // The whole text is checked: serde checks only the strings that it is asked for, and the
        // others go to a server, which may not survive bytes that are not UTF-8.
        let text = std::str::from_utf8(bytes).map_err(|e| Malformed::Json(e.to_string()))?;
        if let Some(usual) = UsualMessage::of(text) {
            return Ok(usual.into());
        }
        match serde_json::from_str::<RawEnvelope<'_>>(text) {
            Ok(read) => Self::checked(read),
            Err(error) => Err(why(text, &error)),
        }
    }

    /// Reads one message that every reader of JSON understands alike, for a scope on which
    /// something is hidden, or a server that several sessions share.
    ///
    /// # Errors
    /// As [`Self::parse`], and if another reader might see another message.
    pub fn parse_strictly(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let envelope = Self::parse(bytes)?;
        if envelope.has_one_meaning() { Ok(envelope) } else { Err(Malformed::ambiguous()) }
    }

    /// Whether every reader of JSON sees this message: no member looks like one that counts, none
    /// that counts is there in vain, and the id is a string or a whole number.
    #[must_use]
    pub fn has_one_meaning(&self) -> bool {
        !self.is_ambiguous && self.id.is_none_or(|id| id.get() == "null" || is_plain_id(id))
    }

    fn checked(read: RawEnvelope<'a>) -> Result<Self, Malformed> {
        if read.jsonrpc.and_then(text).as_deref() != Some("2.0") {
            return Err(Malformed::Message("\"jsonrpc\" must be \"2.0\""));
        }
        let is_null = |value: &&RawValue| value.get() == "null";
        let method = match read.method.filter(|method| !is_null(method)) {
            Some(method) => Some(text(method).ok_or(Malformed::Message(WRONG_MEMBER))?),
            None => None,
        };
        let RawEnvelope { id, params, mut result, mut error, .. } = read;
        let in_vain =
            read.method.is_some() && method.is_none() || result.is_some() && error.is_some();
        // Some servers write the absent one of the two as null.
        match (result.filter(is_null), error.filter(is_null)) {
            (_, Some(_)) if result.is_some() => error = None,
            (Some(_), None) if error.is_some() => result = None,
            _ => {}
        }
        if result.is_some() && error.is_some() {
            return Err(Malformed::Message("\"result\" and \"error\" exclude each other"));
        }
        let answers = result.is_some() || error.is_some();
        if method.is_some() == answers {
            return Err(Malformed::Message(
                "exactly one of \"method\", \"result\" and \"error\" is needed",
            ));
        }
        if let Some(id) = id {
            let first = id.get().as_bytes().first().copied().unwrap_or(b'n');
            let null_of_an_error = id.get() == "null" && error.is_some();
            if !matches!(first, b'"' | b'-' | b'0'..=b'9') && !null_of_an_error {
                return Err(Malformed::Message("\"id\" must be a string or a number"));
            }
            if id.get().len() > if answers { MAX_ANSWERED_ID } else { MAX_ID } {
                return Err(Malformed::Message(LONG_ID));
            }
        }
        let has_lookalike = read.has_lookalike;
        let is_ambiguous = has_lookalike || in_vain;
        Ok(Self { id, method, params, result, error, is_ambiguous, has_lookalike })
    }

    /// Never ambiguous: [`Self::parse`] refuses a method beside a result or an error.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match (&self.method, self.id) {
            (Some(_), Some(_)) => Kind::Request,
            (Some(_), None) => Kind::Notification,
            (None, _) => Kind::Response,
        }
    }

    /// The method; empty for a response.
    #[must_use]
    pub fn method(&self) -> &str {
        self.method.as_deref().unwrap_or("")
    }

    /// The id as written in the message, quotes included.
    #[must_use]
    pub fn id_text(&self) -> Option<&'a str> {
        self.id.map(RawValue::get)
    }

    /// Whether the id, if there is one, is the same for every reader.
    #[must_use]
    pub fn has_plain_id(&self) -> bool {
        self.id.is_none_or(is_plain_id)
    }
}

impl<'a> From<UsualMessage<'a>> for Envelope<'a> {
    fn from(usual: UsualMessage<'a>) -> Self {
        let (id, method, params, result) = match usual {
            UsualMessage::Request { id, method, params } => (id, Some(method), Some(params), None),
            UsualMessage::Result { id, result } => (id, None, None, Some(result)),
        };
        let method = method.map(Cow::Borrowed);
        let (error, is_ambiguous, has_lookalike) = (None, false, false);
        Self { id: Some(id), method, params, result, error, is_ambiguous, has_lookalike }
    }
}

/// A string without its escapes, borrowed if it has none; `None` for any other value, and for half a
/// surrogate pair.
fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    let inside = value.get().strip_prefix('"')?.strip_suffix('"')?;
    if inside.contains('\\') {
        return serde_json::from_str(value.get()).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inside))
}

/// Whether an id or a progress token is the same for every reader: a string that all can decode, or
/// a whole number (2025-11-25, schema, `RequestId`).
#[must_use]
pub fn is_plain_id(id: &RawValue) -> bool {
    let digits = id.get().strip_prefix('-').unwrap_or(id.get());
    digits.bytes().all(|byte| byte.is_ascii_digit()) || text(id).is_some()
}

fn why(text: &str, error: &serde_json::Error) -> Malformed {
    if serde_json::from_str::<&RawValue>(text).is_err() {
        return Malformed::Json(error.to_string());
    }
    match text.bytes().find(|b| !b.is_ascii_whitespace()) {
        Some(b'[') => Malformed::Message("batches are not part of this protocol revision"),
        Some(b'{') => Malformed::Message(WRONG_MEMBER),
        _ => Malformed::Message("a message must be a JSON object"),
    }
}

/// The response with this result. Id and result are JSON and are copied as they are.
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

/// An error response. The id is JSON; without one it is `null`, as the SDKs expect. The message may
/// quote what a client or server has sent: it is made visible, and cut after 2 KiB.
#[must_use]
pub fn error(id: Option<&str>, code: i64, message: &str) -> Bytes {
    format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":{},\"error\":{{\"code\":{code},\"message\":{}}}}}",
        id.unwrap_or("null"),
        serde_json::Value::from(page(message, MAX_ERROR_TEXT).to_string())
    )
    .into()
}

/// Like [`error`], with data for programs, which are JSON.
#[must_use]
pub fn error_with(id: Option<&str>, code: i64, message: &str, data: &str) -> Bytes {
    format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":{},\"error\":{{\"code\":{code},\"message\":{},\"data\":{data}}}}}",
        id.unwrap_or("null"),
        serde_json::Value::from(page(message, MAX_ERROR_TEXT).to_string())
    )
    .into()
}

/// A request of the gateway. Id and parameters are JSON; the method must not need escapes.
#[must_use]
pub fn request(id: &str, method: &str, params: &str) -> Bytes {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{method}\",\"params\":{params}}}")
        .into()
}

/// The messages of a batch (2025-03-26, basic, "Batching"); `None` if the body is not an
/// array. The messages themselves are not checked.
///
/// # Errors
/// If the array is invalid JSON, or empty.
pub fn batch(bytes: &[u8]) -> Result<Option<Vec<&RawValue>>, Malformed> {
    if bytes.iter().find(|b| !b.is_ascii_whitespace()) != Some(&b'[') {
        return Ok(None);
    }
    let messages: Vec<&RawValue> =
        serde_json::from_slice(bytes).map_err(|error| Malformed::Json(error.to_string()))?;
    if messages.is_empty() {
        return Err(Malformed::Message("a batch must have at least one message"));
    }
    Ok(Some(messages))
}

/// A notification of the gateway without parameters. The method must not need escapes.
#[must_use]
pub fn notification(method: &str) -> Bytes {
    format!("{{\"jsonrpc\":\"2.0\",\"method\":\"{method}\"}}").into()
}

/// A notification of the gateway. The parameters are JSON.
#[must_use]
pub fn notification_with(method: &str, params: &str) -> Bytes {
    format!("{{\"jsonrpc\":\"2.0\",\"method\":\"{method}\",\"params\":{params}}}").into()
}

/// `notifications/cancelled`: the sender of the request waits no longer. `id` is the request's,
/// as JSON (2025-11-25, basic/utilities/cancellation).
#[must_use]
pub fn cancelled(id: &str, reason: &str) -> Bytes {
    let params = format!("{{\"requestId\":{id},\"reason\":{}}}", splice::quoted(reason));
    notification_with(methods::CANCELLED, &params)
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
    fn an_id_has_bounds() {
        for (length, expect) in
            [(MAX_ID, Ok(Kind::Request)), (MAX_ID + 1, Err(code::INVALID_REQUEST))]
        {
            let text = "x".repeat(length - 2);
            check(&format!(r#"{{"jsonrpc":"2.0","id":"{text}","method":"ping"}}"#), expect);
            let number = "1".repeat(length);
            check(&format!(r#"{{"jsonrpc":"2.0","id":{number},"method":"ping"}}"#), expect);
        }
        let answer =
            |length| format!(r#"{{"jsonrpc":"2.0","id":"{}","result":1}}"#, "x".repeat(length - 2));
        check(&answer(MAX_ANSWERED_ID), Ok(Kind::Response));
        check(&answer(MAX_ANSWERED_ID + 1), Err(code::INVALID_REQUEST));
    }

    #[test]
    fn an_array_of_a_messages_values_is_none() {
        for message in [
            r#"["2.0",7,"ping"]"#,
            r#"["2.0",7,"tools/call",{"name":"a"},null,null]"#,
            r#"[["2.0",7,"ping"]]"#,
        ] {
            check(message, Err(code::INVALID_REQUEST));
        }
    }

    #[test]
    fn a_message_that_readers_differ_on_is_refused_where_something_is_hidden() {
        let strictly = |members: &str| {
            let message = format!(r#"{{"jsonrpc":"2.0",{members}}}"#);
            assert!(Envelope::parse(message.as_bytes()).is_ok(), "{members}");
            Envelope::parse_strictly(message.as_bytes()).is_ok()
        };
        for members in [
            r#""id":1,"method":"ping","extra":1,"m\u00e9thod":2"#,
            r#""id":-12345678901234567890123,"method":"ping""#,
            r#""id":"\u00e9","result":null"#,
            r#""id":null,"error":{}"#,
        ] {
            assert!(strictly(members), "{members}");
        }
        for members in [
            r#""id":1,"method":"ping","Id":2"#,
            r#""id":1,"method":"ping","METHOD":"a""#,
            r#""id":1,"method":"ping","para\u006d\u017f":{}"#,
            r#""id":1,"method":"ping","result\u0000":{}"#,
            r#""id":1,"method":null,"result":{}"#,
            r#""id":1,"result":{},"error":null"#,
            r#""id":1.0,"method":"ping""#,
            r#""id":1e3,"method":"ping""#,
            r#""id":"\ud800","method":"ping""#,
        ] {
            assert!(!strictly(members), "{members}");
        }
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

    #[test]
    fn the_cancelling_message_names_the_request_as_the_client_wrote_it() {
        let message = cancelled("\"a\\u0062\"", "too \"slow\"");
        let value: serde_json::Value = serde_json::from_slice(&message).unwrap();
        assert_eq!(value["params"]["requestId"], "ab");
        assert_eq!(value["params"]["reason"], "too \"slow\"");
    }
}
