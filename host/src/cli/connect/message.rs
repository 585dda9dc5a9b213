//! What the bridge reads of a message; everything else passes as it is.

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::protocol::era::{self, meta, methods::DISCOVER, methods::LISTEN};
use crate::protocol::jsonrpc::code;
use crate::protocol::lenient::{Members, text};
use crate::protocol::members::members;
use crate::protocol::methods;

members! {
    /// The members that say what a message is.
    struct Outline {
        id = "id",
        method = "method",
        params = "params",
        result = "result",
        error = "error",
    }
}

/// A message that wants an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// As it is written.
    pub id: String,
    pub method: String,
    /// The revision that it names for itself, if that is one without sessions.
    pub revision: Option<String>,
}

impl Request {
    /// Whether it stays open until one side ends it.
    pub fn is_subscription(&self) -> bool {
        self.revision.is_some() && self.method == LISTEN
    }

    /// Whether a second run does no harm, by the method alone: of tools nothing is known here.
    pub fn may_repeat(&self) -> bool {
        matches!(self.method.as_str(), "initialize" | LISTEN | DISCOVER)
            || methods::is_safe_to_repeat(&self.method)
    }
}

/// What a line of the host is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Request(Request),
    Notification {
        method: String,
        /// The id of the request that is not wanted any more, as it is written.
        cancels: Option<String>,
    },
    /// The host's answer to a request of a server.
    Answer,
    /// A list of messages, whose answers are not waited for by id.
    Batch,
    /// Nothing that can be sent, with the error that answers it.
    Wrong(Vec<u8>),
}

impl Kind {
    /// Whether the message may be sent again if it may have arrived.
    pub fn may_repeat(&self) -> bool {
        match self {
            Self::Request(request) => request.may_repeat(),
            Self::Notification { method, .. } => methods::is_safe_to_repeat(method),
            // A server passes on the first answer to a question, and no other one.
            Self::Answer => true,
            Self::Batch | Self::Wrong(_) => false,
        }
    }
}

/// Only the outline is read: what is wrong inside is for the server to say.
pub fn kind(line: &str) -> Kind {
    let wrong = |id, number, why| Kind::Wrong(error(id, number, why));
    if serde_json::from_str::<&RawValue>(line).is_err() {
        return wrong("null", code::PARSE, "the line is not a message in JSON");
    }
    if line.starts_with('[') {
        return Kind::Batch;
    }
    let Ok(outline) = serde_json::from_str::<Outline<'_>>(line) else {
        let why = "the line is not an object whose members are there once";
        return wrong("null", code::INVALID_REQUEST, why);
    };
    let id = outline.id.map(RawValue::get).filter(|id| *id != "null");
    match (outline.method.map(text), id) {
        (Some(Some(method)), Some(id)) => {
            let revision = outline.params.and_then(revision_of);
            Kind::Request(Request { id: id.to_owned(), method, revision })
        }
        (Some(Some(method)), None) if outline.id.is_none() => {
            let cancels = (method == methods::CANCELLED).then_some(outline.params).flatten();
            let cancels = cancels.and_then(|params| Members::of(params.get())?.get("requestId"));
            Kind::Notification { method, cancels: cancels.map(|id| id.get().to_owned()) }
        }
        (None, _) if outline.result.is_some() || outline.error.is_some() => Kind::Answer,
        (_, id) => {
            let why = "the line is neither a request with an id, a notification nor an answer";
            wrong(id.unwrap_or("null"), code::INVALID_REQUEST, why)
        }
    }
}

fn revision_of(params: &RawValue) -> Option<String> {
    let named = Members::of(params.get())?.object("_meta")?.text(meta::VERSION)?;
    era::is_modern(&named).then_some(named)
}

/// The parameters of a message, as they are written.
pub fn params(message: &[u8]) -> Option<&RawValue> {
    serde_json::from_slice::<Outline<'_>>(message).ok()?.params
}

/// Whether a message is the answer to the request with this id.
pub fn answers(message: &[u8], id: &str) -> bool {
    let outline = serde_json::from_slice::<Outline<'_>>(message);
    outline.is_ok_and(|found| {
        found.method.is_none() && found.id.is_some_and(|found| found.get() == id)
    })
}

/// The answer of the bridge itself.
pub fn error(id: &str, code: i64, message: &str) -> Vec<u8> {
    with_id(id, &json!({"code": code, "message": message}))
}

/// An error under the id as it came.
fn with_id(id: &str, error: &Value) -> Vec<u8> {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#).into_bytes()
}

/// What the body of a refusal says.
#[derive(Debug, PartialEq)]
pub struct Refusal {
    /// The error of JSON-RPC, with all that it has.
    error: Option<Value>,
    /// Why, for people.
    pub why: String,
}

impl Refusal {
    /// `otherwise` is said if the body says nothing.
    pub fn of(body: &[u8], otherwise: &str) -> Self {
        let found = serde_json::from_slice::<Value>(body).unwrap_or_default();
        let error = found.get("error").filter(|error| error["code"].is_i64()).cloned();
        let message = error.as_ref().unwrap_or(&found)["message"].as_str().map(str::to_owned);
        let mut why = message.unwrap_or_else(|| String::from_utf8_lossy(body).trim().to_owned());
        if why.is_empty() {
            otherwise.clone_into(&mut why);
        }
        Self { error, why }
    }

    pub fn code(&self) -> Option<i64> {
        self.error.as_ref()?["code"].as_i64()
    }

    /// The error that answers the request with this id, with a hint behind its message.
    pub fn answer(self, id: &str, hint: &str) -> Vec<u8> {
        let why = format!("{}{hint}", self.why);
        match self.error {
            Some(mut error) => {
                error["message"] = Value::String(why);
                with_id(id, &error)
            }
            None => self::error(id, code::TRANSPORT, &why),
        }
    }
}

/// The revision that an answer to `initialize` names.
pub fn revision(message: &[u8]) -> Option<String> {
    let found = serde_json::from_slice::<Value>(message).ok()?;
    Some(found["result"]["protocolVersion"].as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(id: &str, method: &str) -> Kind {
        Kind::Request(Request { id: id.to_owned(), method: method.to_owned(), revision: None })
    }

    fn notification(method: &str, cancels: Option<&str>) -> Kind {
        Kind::Notification { method: method.to_owned(), cancels: cancels.map(str::to_owned) }
    }

    #[test]
    fn a_line_is_a_request_if_it_has_an_id_and_a_method() {
        for (text, expect) in [
            (r#"{"jsonrpc":"2.0","id":"a","method":"ping"}"#, request("\"a\"", "ping")),
            (
                r#"{"method":"tools/list","params":{"id":9},"id":1.50}"#,
                request("1.50", "tools/list"),
            ),
            (r#"{"method":"notifications/x"}"#, notification("notifications/x", None)),
            (
                r#"{"method":"notifications/cancelled","params":{"requestId":"a"}}"#,
                notification("notifications/cancelled", Some("\"a\"")),
            ),
            (r#"{"id":1,"result":{"method":"x"}}"#, Kind::Answer),
            (r#"[{"id":1,"method":"ping"}]"#, Kind::Batch),
        ] {
            assert_eq!(kind(text), expect, "{text}");
        }
    }

    #[test]
    fn what_is_no_message_is_answered_with_what_is_wrong() {
        for (text, id, number) in [
            ("[1", "null", -32700),
            ("hello", "null", -32700),
            ("5", "null", -32600),
            ("{}", "null", -32600),
            (r#"{"id":7}"#, "7", -32600),
            (r#"{"id":7,"method":5}"#, "7", -32600),
            (r#"{"id":null,"method":"ping"}"#, "null", -32600),
            (r#"{"id":7,"id":8,"method":"ping"}"#, "null", -32600),
        ] {
            let Kind::Wrong(answer) = kind(text) else { panic!("{text}") };
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            assert_eq!(answer["error"]["code"], number, "{text}");
            assert_eq!(answer["id"].to_string(), id, "{text}");
        }
    }

    #[test]
    fn a_request_may_name_a_revision_without_sessions() {
        for (version, expect) in [
            ("2026-07-28", Some("2026-07-28")),
            ("2099-01-01", Some("2099-01-01")),
            ("2025-11-25", None),
        ] {
            let line =
                json!({"id": 1, "method": LISTEN, "params": {"_meta": {meta::VERSION: version}}});
            let Kind::Request(request) = kind(&line.to_string()) else { panic!("{line}") };
            assert_eq!(request.revision.as_deref(), expect);
            assert_eq!(request.is_subscription(), expect.is_some());
        }
    }

    #[test]
    fn only_the_answer_to_the_request_counts() {
        assert!(answers(br#"{"id": 7, "result": {}}"#, "7"));
        assert!(answers(br#"{"error": {}, "id": "7"}"#, "\"7\""));
        for other in [&br#"{"id": 7, "method": "ping"}"#[..], br#"{"id": 8, "result": 7}"#, b"{"] {
            assert!(!answers(other, "7"));
        }
    }

    #[test]
    fn what_may_have_run_is_not_repeated() {
        for (text, expect) in [
            (r#"{"id":1,"method":"tools/list"}"#, true),
            (r#"{"id":1,"method":"initialize"}"#, true),
            (r#"{"id":1,"method":"tools/call"}"#, false),
            (r#"{"id":1,"result":{}}"#, true),
        ] {
            assert_eq!(kind(text).may_repeat(), expect, "{text}");
        }
    }

    #[test]
    fn an_error_carries_the_id_as_it_came() {
        let made = error("1.50", -32000, "say \"why\"");
        assert!(made.starts_with(br#"{"jsonrpc":"2.0","id":1.50,"#));
        assert!(serde_json::from_slice::<Value>(&made).is_ok());
    }

    #[test]
    fn a_refusal_keeps_all_that_its_error_has() {
        let body = br#"{"jsonrpc":"2.0","id":null,"error":{"code":-32022,"message":"no","data":{"supported":["a"]}}}"#;
        let refusal = Refusal::of(body, "400");
        assert_eq!((refusal.code(), refusal.why.as_str()), (Some(-32022), "no"));
        let answer: Value = serde_json::from_slice(&refusal.answer("7", ", so")).unwrap();
        let error = json!({"code": -32022, "message": "no, so", "data": {"supported": ["a"]}});
        assert_eq!(answer, json!({"jsonrpc": "2.0", "id": 7, "error": error}));
        for (body, why) in [
            (&br#"{"success":false,"message":"not here"}"#[..], "not here"),
            (b"<p>Bad Gateway", "<p>Bad Gateway"),
            (b" ", "400"),
            (br#"{"error":"invalid_token"}"#, r#"{"error":"invalid_token"}"#),
        ] {
            let refusal = Refusal::of(body, "400");
            assert_eq!((refusal.code(), refusal.why.as_str()), (None, why));
            let answer: Value = serde_json::from_slice(&refusal.answer("7", "")).unwrap();
            assert_eq!(answer["error"]["code"], -32000);
        }
    }
}
