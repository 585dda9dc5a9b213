//! Replaces single values inside a JSON text and keeps every other byte.
//!
//! A borrowed `RawValue` is a slice of the text it was parsed from, so the difference of the
//! two addresses is its offset.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use serde_json::value::RawValue;

use super::members::members;

/// A span of a text in bytes, and its replacement. An empty span inserts.
pub type Edit = (Range<usize>, String);

/// The span of a borrowed value in the text that it was borrowed from.
///
/// `None` if it is not part of that text.
#[must_use]
pub fn span(text: &[u8], value: &RawValue) -> Option<Range<usize>> {
    let start = (value.get().as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
    let end = start.checked_add(value.get().len())?;
    (end <= text.len()).then_some(start..end)
}

/// The text with one span replaced, which must lie inside the text.
#[must_use]
pub fn replace(text: &[u8], span: Range<usize>, by: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(text.len() + by.len());
    out.extend_from_slice(text.get(..span.start).unwrap_or_default());
    out.extend_from_slice(by);
    out.extend_from_slice(text.get(span.end..).unwrap_or_default());
    out.into()
}

/// The text with several spans replaced. They must not overlap; their order does not matter.
#[must_use]
pub fn edit(text: &Bytes, mut edits: Vec<Edit>) -> Bytes {
    if edits.is_empty() {
        return text.clone();
    }
    edits.sort_by_key(|(span, _)| span.start);
    let more: usize = edits.iter().map(|(_, by)| by.len()).sum();
    let mut out = Vec::with_capacity(text.len() + more);
    let mut at = 0;
    for (span, by) in &edits {
        out.extend_from_slice(text.get(at..span.start).unwrap_or_default());
        out.extend_from_slice(by.as_bytes());
        at = span.end;
    }
    out.extend_from_slice(text.get(at..).unwrap_or_default());
    out.into()
}

/// The edit that puts a member, given as JSON, at the front of an object inside the text.
/// `None` if the value is not an object of that text.
#[must_use]
pub fn insertion(text: &[u8], object: &RawValue, member: &str) -> Option<Edit> {
    let at = span(text, object)?;
    let inside = object.get().strip_prefix('{')?;
    let comma = if inside.trim_start().starts_with('}') { "" } else { "," };
    Some((at.start + 1..at.start + 1, format!("{member}{comma}")))
}

members! {
    /// The members of `params`, or of a `ref` in it, that name what a message is about: its server,
    /// and what may be hidden there.
    pub struct RequestTarget {
        /// The tool of `tools/call`, or the prompt of `prompts/get` or of a `ref`.
        name = "name",
        /// The resource of `resources/read`, `subscribe` and `unsubscribe`, or the template of a
        /// `ref`.
        uri = "uri",
        /// Of a `ref`: `ref/prompt` or `ref/resource`.
        kind = "type",
        /// The `ref` of `completion/complete`: an object with a `name` or a `uri`.
        reference = "ref",
        /// What a tool or prompt is given.
        arguments = "arguments",
        /// Asks for a task as the answer.
        task = "task",
        /// The task of `tasks/…`.
        task_id = "taskId",
        /// The level of `logging/setLevel`.
        level = "level",
        /// The place in a list.
        cursor = "cursor",
        /// The request of `notifications/cancelled`.
        request_id = "requestId",
        /// The token of `notifications/progress`.
        progress_token = "progressToken",
        /// Of all parameters.
        meta = "_meta",
    }
}

impl<'a> RequestTarget<'a> {
    /// `None` if the parameters are absent, are not an object, or have one of these members twice.
    #[must_use]
    pub fn of(params: Option<&'a RawValue>) -> Option<Self> {
        serde_json::from_str(params?.get()).ok()
    }
}

/// The value of a JSON string, without its escapes; `None` for any other JSON.
#[must_use]
pub fn string(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

/// The text as a JSON string, with quotes and escapes.
#[must_use]
pub fn quoted(text: &str) -> String {
    // Names mostly need no escapes.
    if text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        return ["\"", text, "\""].concat();
    }
    serde_json::Value::from(text).to_string()
}

/// Replaces raw line breaks by spaces, which a line of stdio and a `data:` line of SSE need.
/// JSON strings cannot hold raw control characters, so only white space changes.
#[must_use]
pub fn on_one_line(message: Bytes) -> Bytes {
    if memchr::memchr2(b'\n', b'\r', &message).is_none() {
        return message;
    }
    let spaced = message.iter().map(|b| if matches!(b, b'\n' | b'\r') { b' ' } else { *b });
    spaced.collect::<Vec<u8>>().into()
}

/// Adds a JSON text as one line, with its line feed, for a reader that may split at more than that:
/// Node's `readline` also ends a line at U+2028 and U+2029, Python's `splitlines` at U+0085. What
/// followed would be another message to it. In JSON these stand in strings alone, where an escape
/// means the same.
pub fn push_line(line: &mut BytesMut, message: &[u8]) {
    let begins_at = line.len();
    if message.is_ascii() {
        line.extend_from_slice(message);
    } else {
        push_without_separators(line, message);
    }
    let added = line.get_mut(begins_at..).unwrap_or_default();
    if memchr::memchr2(b'\n', b'\r', added).is_some() {
        added.iter_mut().filter(|b| matches!(b, b'\n' | b'\r')).for_each(|b| *b = b' ');
    }
    line.extend_from_slice(b"\n");
}

fn push_without_separators(line: &mut BytesMut, message: &[u8]) {
    let mut rest = message;
    let mut searched = 0;
    while let Some(at) = memchr::memchr2(0xc2, 0xe2, rest.get(searched..).unwrap_or_default()) {
        let at = searched + at;
        let (before, found) = rest.split_at(at);
        let (escape, length): (&[u8], usize) = match found {
            [0xc2, 0x85, ..] => (b"\\u0085", 2),
            [0xe2, 0x80, 0xa8, ..] => (b"\\u2028", 3),
            [0xe2, 0x80, 0xa9, ..] => (b"\\u2029", 3),
            _ => {
                searched = at + 1;
                continue;
            }
        };
        line.extend_from_slice(before);
        line.extend_from_slice(escape);
        rest = found.get(length..).unwrap_or_default();
        searched = 0;
    }
    line.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::jsonrpc::Envelope;

    #[test]
    fn only_the_named_value_changes() {
        let message = r#"{ "params":{"x":1e2,"name" : "a-b\u00e9","z":"name"},"method":"tools/call","jsonrpc":"2.0","id":12345678901234567890123 }"#;
        let envelope = Envelope::parse(message.as_bytes()).unwrap();
        let target = RequestTarget::of(envelope.params).unwrap();
        let name = target.name.unwrap();
        assert_eq!(string(name).as_deref(), Some("a-bé"));
        let span = span(message.as_bytes(), name).unwrap();
        let out = replace(message.as_bytes(), span, b"\"b\"");
        assert_eq!(out, message.replace(r#""a-b\u00e9""#, "\"b\""));
    }

    #[test]
    fn members_go_into_objects_empty_or_not() {
        for (text, expect) in [
            ("{\"a\":{ }}", "{\"a\":{\"x\":1 }}"),
            ("{\"a\":{\"b\":2}}", "{\"a\":{\"x\":1,\"b\":2}}"),
        ] {
            let text = Bytes::from_static(text.as_bytes());
            let outer: std::collections::HashMap<&str, &RawValue> =
                serde_json::from_slice(&text).unwrap();
            let edit = insertion(&text, outer["a"], "\"x\":1").unwrap();
            assert_eq!(super::edit(&text, vec![edit]), expect);
        }
    }

    #[test]
    fn line_breaks_between_members_become_spaces() {
        let pretty = Bytes::from_static(b"{\r\n  \"a\": \"\\n\"\n}");
        assert_eq!(on_one_line(pretty), "{    \"a\": \"\\n\" }");
        let flat = Bytes::from_static(b"{}");
        assert_eq!(on_one_line(flat.clone()).as_ptr(), flat.as_ptr());
    }

    #[test]
    fn no_reader_finds_the_end_of_a_line_within_a_message() {
        let line = |message: &str| {
            let mut line = BytesMut::from("before\n");
            push_line(&mut line, message.as_bytes());
            String::from_utf8(line.to_vec()).unwrap()
        };
        for (message, expect) in [
            (r#"{"a":"\n"}"#, r#"{"a":"\n"}"#),
            ("{\r\n\"a\":1\n}", "{  \"a\":1 }"),
            (
                "[\"a\u{2028}\u{2029}b\u{85}\",\r\n\"\u{2028}\"]",
                r#"["a\u2028\u2029b\u0085",  "\u2028"]"#,
            ),
            (
                "\"\u{80}\u{2027}\u{202a}\u{e4}\u{c2}“漢\u{1f600}\"",
                "\"\u{80}\u{2027}\u{202a}\u{e4}\u{c2}“漢\u{1f600}\"",
            ),
        ] {
            assert_eq!(line(message), format!("before\n{expect}\n"));
        }
        let mut broken = BytesMut::new();
        push_line(&mut broken, b"\"\xe2\x80");
        assert_eq!(broken, &b"\"\xe2\x80\n"[..]);
    }

    #[test]
    fn a_value_of_another_text_has_no_span() {
        let other = RawValue::from_string("1".repeat(100)).unwrap();
        assert_eq!(span(b"12", &other), None);
    }
}
