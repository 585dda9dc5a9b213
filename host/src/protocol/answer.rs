//! Whether a body is the answer to a request, found without a tree.
//!
//! Every answer of a remote server is looked at, so it has to be cheap: the two shapes in which
//! nearly all servers write an answer are compared byte by byte, and what stands within is passed over
//! (`scan`). A body of another shape is parsed.

use bytes::Bytes;
use serde_json::value::RawValue;

use super::jsonrpc::{Envelope, Kind};
use super::lenient::Members;
use super::scan;

/// How an answer is written. The schemas of SDKs are strict: what they refuse is no answer to them,
/// and its request hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerForm {
    /// A result, or an error with a whole code and a message.
    Usual,
    /// A member that does not belong there is written as null, such as an error beside a result.
    WithNull,
    /// The error is something else.
    NoError,
}

impl AnswerForm {
    /// The form of a response.
    #[must_use]
    pub fn of(answer: &Envelope<'_>) -> Self {
        match answer.error {
            Some(error) if !is_error_object(error) => Self::NoError,
            _ if answer.is_ambiguous && !answer.has_lookalike => Self::WithNull,
            _ => Self::Usual,
        }
    }
}

/// Whether every client takes this for an error (JSON-RPC 2.0, §5.1).
#[must_use]
pub fn is_error_object(error: &RawValue) -> bool {
    let Some(members) = Members::of(error.get()) else { return false };
    let is_whole = |code: &RawValue| {
        code.get().parse::<f64>().is_ok_and(|code| code.is_finite() && code.fract() == 0.0)
    };
    members.get("code").is_some_and(is_whole) && members.text("message").is_some()
}

/// The answer with its result or error alone, under this id, as JSON.
#[must_use]
pub fn rewritten(id: &str, answer: &Envelope<'_>) -> Option<Bytes> {
    let (name, value) = match (answer.result, answer.error) {
        (Some(result), _) => ("result", result),
        (None, error) => ("error", error?),
    };
    Some(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"{name}\":{}}}", value.get()).into())
}

/// The text without a byte order mark, which readers of JSON in SDKs skip.
#[must_use]
pub fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

/// Whether the whole body is a JSON-RPC answer with exactly this id (as JSON), in its usual form.
#[must_use]
pub fn is_answer_to(body: &[u8], id: &str) -> bool {
    let Ok(text) = std::str::from_utf8(body) else { return false };
    let text = text.trim_ascii();
    match has_usual_shape(text, id) {
        Some(has) => has,
        None => is_parsed_answer_to(text, id),
    }
}

fn is_parsed_answer_to(text: &str, id: &str) -> bool {
    Envelope::parse(text.as_bytes()).is_ok_and(|answer| {
        answer.kind() == Kind::Response
            && answer.id_text() == Some(id)
            && AnswerForm::of(&answer) == AnswerForm::Usual
    })
}

/// `None` if that takes a parser: so does everything but a result that is an object, and any member
/// beside the three.
fn has_usual_shape(text: &str, id: &str) -> Option<bool> {
    let inside = text.strip_prefix('{')?.strip_suffix('}')?;
    // Most SDKs begin with the id, that for TypeScript ends with it.
    let result = match inside.strip_prefix("\"jsonrpc\":\"2.0\",\"id\":") {
        Some(rest) => rest.strip_prefix(id)?.strip_prefix(",\"result\":")?,
        None => {
            let before = inside.strip_suffix(id)?.strip_suffix(",\"jsonrpc\":\"2.0\",\"id\":")?;
            before.strip_prefix("\"result\":")?
        }
    };
    (result.starts_with('{') && scan::is_value(result)).then_some(true)
}

/// What the beginning of a body shows, before the rest has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerStart {
    /// It may become the answer: nothing speaks against it.
    Open,
    /// It will not become an answer.
    Other,
}

/// Looks at the beginning of a body that is still to come.
#[must_use]
pub fn begins(head: &[u8]) -> AnswerStart {
    let head = head.trim_ascii_start();
    let is_named = |name: &[u8]| {
        let after = head.strip_prefix(b"{").map(<[u8]>::trim_ascii_start);
        // The head may be cut anywhere.
        after.is_some_and(|after| after.starts_with(name) || name.starts_with(after))
    };
    match [&b"\"jsonrpc\""[..], b"\"id\"", b"\"result\"", b"\"error\""].iter().any(|n| is_named(n))
    {
        true => AnswerStart::Open,
        false => AnswerStart::Other,
    }
}

/// The values of a body that has one after the other, as lines of JSON have them. What cannot be read
/// ends them. `None` if there are not several.
#[must_use]
pub fn several(body: &[u8]) -> Option<Vec<&RawValue>> {
    let mut reading = serde_json::Deserializer::from_slice(body).into_iter::<&RawValue>();
    let mut values = Vec::new();
    let mut end = 0;
    while let Some(Ok(value)) = reading.next() {
        values.push(value);
        end = reading.byte_offset();
    }
    // One that is cut off counts too.
    let rest = body.get(end..).unwrap_or_default().trim_ascii_start();
    let is_followed = values.len() == 1 && begins_value(rest);
    (values.len() > 1 || is_followed).then_some(values)
}

/// Whether a body whose beginning this is has several values, or has to, if the answer is among them:
/// its first message is none.
#[must_use]
pub fn begins_several(head: &[u8]) -> bool {
    let head = head.trim_ascii_start();
    // Most have one, whose end has not come yet or is the last byte.
    let is_object = head.starts_with(b"{") && memchr::memchr(b'\n', head).is_some();
    (is_object || memchr::memmem::find(head, b"}{").is_some()) && several(head).is_some()
        || begins_with_method(head)
}

/// Whether a message is no answer, as nearly all servers begin such.
fn begins_with_method(head: &[u8]) -> bool {
    let mut rest = head;
    for token in [&b"{"[..], b"\"jsonrpc\"", b":", b"\"2.0\"", b",", b"\"method\"", b":"] {
        let Some(after) = rest.trim_ascii_start().strip_prefix(token) else { return false };
        rest = after;
    }
    true
}

/// Whether what stands behind an answer is another message.
#[must_use]
pub fn begins_value(text: &[u8]) -> bool {
    matches!(text.first(), Some(b'{' | b'['))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_one_after_the_other_are_told_apart() {
        for (body, count) in [
            ("{\"a\":1}\n{\"b\":2}\n", Some(2)),
            ("{}{}[]", Some(3)),
            (" {} \r\n {}", Some(2)),
            ("{}\n{\"cut", Some(1)),
            ("{}\n{} and more", Some(2)),
            ("{}", None),
            ("{}\n", None),
            ("{} and more", None),
            ("{\"cut", None),
            ("", None),
            ("Accepted", None),
        ] {
            assert_eq!(several(body.as_bytes()).map(|all| all.len()), count, "{body}");
            assert_eq!(begins_several(body.as_bytes()), count.is_some(), "{body}");
        }
        assert!(begins_several(
            br#"{ "jsonrpc": "2.0", "method": "notifications/x", "params": {"x"#
        ));
        assert!(!begins_several(br#"{"jsonrpc":"2.0","id":1,"result":{"method":1"#));
        assert!(!begins_several(b"{\n \"result\": {\n \"x\": \"}{"));
    }

    #[test]
    fn an_answer_is_known_in_every_shape() {
        for body in [
            r#"{"jsonrpc":"2.0","id":7,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":7,"error":{"code":1,"message":"}\"]"}}"#,
            r#"{"result":{"content":[{"type":"text","text":"\\"}]},"jsonrpc":"2.0","id":7}"#,
            r#"{"error":{"code":-1,"message":""},"jsonrpc":"2.0","id":7}"#,
            "\n {\"jsonrpc\": \"2.0\", \"id\": 7, \"result\": null}\r\n",
            r#"{"id":7,"jsonrpc":"2.0","result":[1,-2.5e3,true,false,null,"ä"]}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{},"more":[{}]}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{},"more":null}"#,
        ] {
            assert!(is_answer_to(body.as_bytes(), "7"), "{body}");
            assert!(!is_answer_to(body.as_bytes(), "8"), "{body}");
            assert!(!is_answer_to(body.as_bytes(), "\"7\""), "{body}");
            // No part of it is an answer.
            let whole = body.trim();
            for end in 0..whole.len() {
                assert!(!is_answer_to(&whole.as_bytes()[..end], "7"), "{}", &whole[..end.min(60)]);
            }
        }
        let deep = format!(
            r#"{{"jsonrpc":"2.0","id":7,"result":{}1{}}}"#,
            "[".repeat(100),
            "]".repeat(100)
        );
        assert!(is_answer_to(deep.as_bytes(), "7"));
        assert!(is_answer_to(br#"{"jsonrpc":"2.0","id":"a-\"","result":{}}"#, r#""a-\"""#));
    }

    #[test]
    fn what_is_no_answer_is_not_taken_for_one() {
        for body in [
            "",
            "null",
            "Accepted",
            "<html>{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}}",
            r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":7}"#,
            r#"{"jsonrpc":"2.0","result":{}}"#,
            r#"{"jsonrpc":"2.0","id":null,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{}}{}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{}} {"jsonrpc":"2.0","method":"x"}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{"x":NaN}}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{"x":[1}]}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":oops}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{"x":[],}}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{"x":[1, ]}}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{"x":"C:\Users"}}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{"x":"\u00g0"}}"#,
            "{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"x\":\"a\tb\"}}",
            "{\"result\":{\"x\":\"a\nb\"},\"jsonrpc\":\"2.0\",\"id\":7}",
            r#"{"jsonrpc":"2.0","id":7,"error":"oops"}"#,
            r#"{"jsonrpc":"2.0","id":7,"error":{"code":"E1","message":"oops"}}"#,
            r#"{"jsonrpc":"2.0","id":7,"error":{"code":1}}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{},"error":null}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":null,"error":{"code":1,"message":""}}"#,
            r#"{"jsonrpc":"2.0","id":7,"error":null,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{},"result":{"a":1}}"#,
            r#"{"result":{},"result":{"a":1},"jsonrpc":"2.0","id":7}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{},"id":8}"#,
            r#"{"result":{},"error":null,"jsonrpc":"2.0","id":7}"#,
            r#"{"jsonrpc":"2.0","method":null,"id":7,"result":{}}"#,
            r#"{"result":{"a":1,"jsonrpc":"2.0","id":7}"#,
            r#"{"result":"a,"jsonrpc":"2.0","id":7}"#,
            r#"[{"jsonrpc":"2.0","id":7,"result":{}}]"#,
        ] {
            assert!(!is_answer_to(body.as_bytes(), "7"), "{body}");
        }
        assert!(!is_answer_to(b"{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":\"\xff\"}", "7"));
    }

    #[test]
    fn a_beginning_shows_what_may_follow() {
        for open in
            ["{", " {\n\"js", "{\"result\":{", "{\"id\":1", "{\"error\"", "{\"jsonrpc\":\"2.0\","]
        {
            assert_eq!(begins(open.as_bytes()), AnswerStart::Open, "{open}");
        }
        for other in ["<html>", "Accepted", "[{", "{\"detail\":\"x\"}", "data: {", "\"", "{}"] {
            assert_eq!(begins(other.as_bytes()), AnswerStart::Other, "{other}");
        }
    }
}
