//! What the bridge reads of a message; everything else passes as it is.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::protocol::methods;
use crate::protocol::objects::object_only;

/// The members that say what a message is.
#[derive(Deserialize)]
#[serde(remote = "Self")]
struct Outline<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: Option<String>,
}
object_only!(Outline<'de>);

/// What a line of the host is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// With its id as it is written, and its method.
    Request { id: String, method: String },
    /// A notification, an answer, or a batch, whose answers are not waited for by id.
    Other { method: Option<String> },
    /// Nothing that can be sent.
    NoJson,
}

/// Only the outline is read: what is wrong inside is for the server to say.
pub fn kind(text: &str) -> Kind {
    if text.starts_with('[') {
        return match serde_json::from_str::<&RawValue>(text) {
            Ok(_) => Kind::Other { method: None },
            Err(_) => Kind::NoJson,
        };
    }
    let Ok(outline) = serde_json::from_str::<Outline<'_>>(text) else { return Kind::NoJson };
    match (outline.id, outline.method) {
        (Some(id), Some(method)) => Kind::Request { id: id.get().to_owned(), method },
        (_, method) => Kind::Other { method },
    }
}

/// Whether a message is the answer to the request with this id.
pub fn answers(message: &[u8], id: &str) -> bool {
    let outline = serde_json::from_slice::<Outline<'_>>(message);
    outline.is_ok_and(|found| {
        found.method.is_none() && found.id.is_some_and(|found| found.get() == id)
    })
}

/// Whether a second run does no harm, by the method alone: of tools nothing is known here.
pub fn may_repeat(kind: &Kind) -> bool {
    match kind {
        Kind::Request { method, .. } => {
            method == "initialize" || methods::is_safe_to_repeat(method)
        }
        Kind::Other { method: Some(method) } => methods::is_safe_to_repeat(method),
        // A server passes on the first answer to a question, and no other one.
        Kind::Other { method: None } => true,
        Kind::NoJson => false,
    }
}

/// The answer of the bridge itself.
pub fn error(id: &str, code: i64, message: &str) -> Vec<u8> {
    let error = json!({"code": code, "message": message});
    // The id is written as it came.
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#).into_bytes()
}

/// The error of a body that refuses a request, or the body's own text.
pub fn refusal(body: &[u8]) -> (Option<i64>, String) {
    let body_text = || String::from_utf8_lossy(body).trim().to_owned();
    let Ok(found) = serde_json::from_slice::<Value>(body) else { return (None, body_text()) };
    let message = found["error"]["message"].as_str().or(found["message"].as_str());
    (found["error"]["code"].as_i64(), message.map_or_else(body_text, str::to_owned))
}

/// The revision that an answer to `initialize` names.
pub fn revision(message: &[u8]) -> Option<String> {
    let found = serde_json::from_slice::<Value>(message).ok()?;
    Some(found["result"]["protocolVersion"].as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_request_if_it_has_an_id_and_a_method() {
        let request =
            |id: &str, method: &str| Kind::Request { id: id.to_owned(), method: method.to_owned() };
        for (text, expect) in [
            (r#"{"jsonrpc":"2.0","id":"a","method":"ping"}"#, request("\"a\"", "ping")),
            (
                r#"{"method":"tools/list","params":{"id":9},"id":1.50}"#,
                request("1.50", "tools/list"),
            ),
            (
                r#"{"method":"notifications/cancelled"}"#,
                Kind::Other { method: Some("notifications/cancelled".to_owned()) },
            ),
            (r#"{"id":1,"result":{"method":"x"}}"#, Kind::Other { method: None }),
            (r#"[{"id":1,"method":"ping"}]"#, Kind::Other { method: None }),
            ("[1", Kind::NoJson),
            ("hello", Kind::NoJson),
        ] {
            assert_eq!(kind(text), expect, "{text}");
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
            assert_eq!(may_repeat(&kind(text)), expect, "{text}");
        }
    }

    #[test]
    fn an_error_carries_the_id_as_it_came() {
        let made = error("1.50", -32000, "say \"why\"");
        assert!(made.starts_with(br#"{"jsonrpc":"2.0","id":1.50,"#));
        assert!(serde_json::from_slice::<Value>(&made).is_ok());
    }
}
