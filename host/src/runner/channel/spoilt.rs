//! What a server sends that is no JSON-RPC message: the request that it answers nevertheless, which
//! would otherwise wait for ever, and the messages that can still be read.

use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::model::ServerName;
use crate::protocol::lenient::Members;
use crate::protocol::objects::object_only;

use super::judge;
use super::long_line;

/// The id, as it is written, under which a text answers a request that is no message: either JSON of
/// another kind, or what was to become JSON, as with `NaN` or a control character in it. `None` if it
/// has a `method`, and so answers no request.
#[must_use]
pub fn answered(text: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    #[serde(remote = "Self")]
    struct Id<'a> {
        #[serde(borrow)]
        id: &'a RawValue,
        method: Option<IgnoredAny>,
    }
    object_only!(Id<'de>);
    if let Ok(read) = serde_json::from_slice::<Id<'_>>(text) {
        return read.method.is_none().then(|| read.id.get().to_owned());
    }
    // Text that programs write for people begins otherwise, or names no id.
    if !text.starts_with(b"{") || is_json(text) || long_line::is_no_answer(text) {
        return None;
    }
    long_line::id_at_the_beginning(text).or_else(|| long_line::id_at_the_end(text))
}

/// Whether this can be the id of a request.
#[must_use]
pub fn is_id(written: &str) -> bool {
    written.starts_with(|first: char| first == '"' || first == '-' || first.is_ascii_digit())
}

/// Whether a text answers a request, without saying which: its id is no id, or is not there.
#[must_use]
pub fn answers_somebody(text: &[u8]) -> bool {
    let Some(members) = Members::of_bytes(text) else { return false };
    let says = |name| members.get(name).is_some_and(|value| value.get().len() > 2);
    members.get("jsonrpc").is_some()
        && members.get("method").is_none()
        && (says("result") || says("error"))
}

fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(text).is_ok()
}

/// Logs that a server has answered so. Returns the text for the client.
#[must_use]
pub fn tell(server: &ServerName, text: &[u8]) -> String {
    tracing::warn!(server = %server, "the server sent an answer that is not a JSON-RPC 2.0 message");
    let words = judge::first_words(text).unwrap_or_default();
    format!("server {server} sent an answer that is not a JSON-RPC 2.0 message: {words}")
}

/// What the gateway says of an answer that is a message, and tells nothing.
#[must_use]
pub fn neither(answer: &[u8]) -> String {
    let words = judge::first_words(answer).unwrap_or_default();
    format!("the server's answer is neither a result nor an error: {words}")
}

/// The objects that a line holds besides: several without a line break between them, one behind a
/// terminal's escape sequence, or one before other text. `None` if the line is none of these.
#[must_use]
pub fn objects_in(line: &Bytes) -> Option<Vec<Bytes>> {
    let plain = without_escapes(line);
    if !plain.starts_with(b"{") {
        return None;
    }
    let mut objects = Vec::new();
    let mut values = serde_json::Deserializer::from_slice(plain).into_iter::<&RawValue>();
    while let Some(Ok(value)) = values.next() {
        if value.get().starts_with('{') {
            objects.push(line.slice_ref(value.get().as_bytes()));
        }
    }
    let is_whole = objects.first().is_some_and(|first| first.len() == line.len());
    (!objects.is_empty() && !is_whole).then_some(objects)
}

/// The line without the escape sequences at its beginning, which set colours (ECMA-48, 8.3.117).
fn without_escapes(mut line: &[u8]) -> &[u8] {
    while let Some(sequence) = line.strip_prefix(b"\x1b[") {
        let Some(end) = sequence.iter().position(|byte| (0x40..=0x7e).contains(byte)) else {
            break;
        };
        line = sequence.get(end + 1..).unwrap_or_default();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_no_json_is_known_by_its_id() {
        for (text, id) in [
            (r#"{"jsonrpc":"2.0","id":7,"result":{"v":NaN}}"#, Some("7")),
            (r#"{"jsonrpc":"2.0","id":"a","result":{"v":-Infinity}}"#, Some("\"a\"")),
            (r#"{"jsonrpc": "2.0", "id": 7, "result": {"content": [],}}"#, Some("7")),
            ("{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"text\":\"a\u{1}\"}}", Some("7")),
            (r#"{"jsonrpc":"2.0","id":7,"result":{"text":"C:\Users"}}"#, Some("7")),
            (r#"{"jsonrpc":"2.0","id":7,"result":{"text":"cu"#, Some("7")),
            (r#"{"result":{"v":NaN},"jsonrpc":"2.0","id":7}"#, Some("7")),
            (r#"{"id":7,"result":{}}"#, Some("7")),
            (r#"{"jsonrpc":"2.0","id":7,"method":"ping","params":{"v":NaN}}"#, None),
            (r#"{"jsonrpc":"2.0","method":"x","params":{"v":NaN}}"#, None),
            (r#"{"level":"info","id":7,"method":"x"}"#, None),
            (r#"{ level: 'info' }"#, None),
            (r#"sent {"jsonrpc":"2.0","id":7,"result":{}}"#, None),
            ("7", None),
        ] {
            assert_eq!(answered(text.as_bytes()).as_deref(), id, "{text}");
        }
    }

    #[test]
    fn an_answer_to_somebody_is_told_from_what_programs_log() {
        for (text, is) in [
            (r#"{"jsonrpc":"2.0","id":[7],"result":{"a":1}}"#, true),
            (r#"{"jsonrpc":"2.0","id":{},"error":{"code":1,"message":"x"}}"#, true),
            (r#"{"jsonrpc":"2.0","id":null,"result":{}}"#, false),
            (r#"{"jsonrpc":"2.0","id":true,"method":"x","result":{"a":1}}"#, false),
            (r#"{"level":"error","error":{"code":1}}"#, false),
            (r#"{"level":"info","result":"done"}"#, false),
            ("done", false),
        ] {
            assert_eq!(answers_somebody(text.as_bytes()), is, "{text}");
        }
    }

    #[test]
    fn what_a_line_holds_besides_is_read() {
        let (a, b) = (r#"{"a":1}"#, r#"{"b":2}"#);
        for (line, expect) in [
            (format!("{a}{b}"), Some(vec![a, b])),
            (format!("{a} \t{b}"), Some(vec![a, b])),
            (format!("\x1b[0m{a}"), Some(vec![a])),
            (format!("\x1b[1;31m\x1b[0m{a}\x1b[0m"), Some(vec![a])),
            (format!("{a} // done"), Some(vec![a])),
            (a.to_owned(), None),
            (format!("log: {a}"), None),
            ("{\"a\":NaN}".to_owned(), None),
            ("\x1b[0".to_owned(), None),
        ] {
            let found = objects_in(&Bytes::from(line.clone()));
            let found = found.map(|found| {
                found.iter().map(|o| String::from_utf8_lossy(o).into_owned()).collect::<Vec<_>>()
            });
            let expect = expect.map(|e| e.into_iter().map(str::to_owned).collect());
            assert_eq!(found, expect, "{line}");
        }
    }
}
