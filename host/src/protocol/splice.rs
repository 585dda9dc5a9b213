//! Replaces single values inside a JSON text and keeps every other byte.
//!
//! A borrowed `RawValue` is a slice of the text it was parsed from, so the difference of the
//! two addresses is its offset.

use std::ops::Range;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

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

/// The members of `params` that name what a request is about, and thereby its server.
#[derive(Debug, Default, Deserialize)]
pub struct RequestTarget<'a> {
    /// The tool of `tools/call`, or the prompt of `prompts/get`.
    #[serde(borrow, default)]
    pub name: Option<&'a RawValue>,
    /// The resource of `resources/read`, `subscribe` and `unsubscribe`.
    #[serde(borrow, default)]
    pub uri: Option<&'a RawValue>,
    /// The `ref` of `completion/complete`: an object with a `name` or a `uri`.
    #[serde(borrow, default, rename = "ref")]
    pub reference: Option<&'a RawValue>,
    /// The type of a `ref`.
    #[serde(borrow, default, rename = "type")]
    pub kind: Option<&'a RawValue>,
}

impl<'a> RequestTarget<'a> {
    /// `None` if the parameters are absent, are neither object nor array, or have one of
    /// these members twice.
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
    fn a_value_of_another_text_has_no_span() {
        let other = RawValue::from_string("1".repeat(100)).unwrap();
        assert_eq!(span(b"12", &other), None);
    }
}
