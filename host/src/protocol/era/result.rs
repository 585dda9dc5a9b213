//! Turns results of servers with sessions into results of the revision without them.

use serde_json::value::RawValue;

use crate::protocol::lenient::Members;
use crate::protocol::splice;

use super::tasks::TASK;

/// The result is whole.
pub const COMPLETE: &str = "complete";
/// The result asks for input, with which the request is to be sent again.
pub const INPUT_REQUIRED: &str = "input_required";

/// What a result gets that it does not have.
#[derive(Debug, Default)]
pub struct Additions {
    /// Whether clients may keep it: they are told not to, since what they see depends on who asks.
    pub is_kept: bool,
    /// Whether it is a task, and not the result itself.
    pub is_task: bool,
    /// Members of its `_meta`, each a name and JSON.
    pub meta: Vec<(&'static str, String)>,
}

impl Additions {
    /// The result, which is said to be complete, or a task. `None` if it is no object.
    #[must_use]
    pub fn to(&self, result: &RawValue) -> Option<String> {
        let text = result.get();
        let inside = text.strip_prefix('{')?;
        let members = Members::of(text)?;
        let mut edits = Vec::new();
        let mut added = Vec::new();
        let kind = splice::quoted(if self.is_task { TASK } else { COMPLETE });
        set(text, &members, "resultType", &kind, &mut edits, &mut added);
        if self.is_kept {
            for (name, value) in [("ttlMs", "0"), ("cacheScope", "\"private\"")] {
                if members.get(name).is_none() {
                    set(text, &members, name, value, &mut edits, &mut added);
                }
            }
        }
        if !self.meta.is_empty() {
            let meta = self.meta.iter().map(|(name, value)| format!("{name:?}:{value}"));
            let meta = meta.collect::<Vec<_>>().join(",");
            match members.get("_meta").filter(|meta| meta.get().starts_with('{')) {
                Some(old) => edits.extend(splice::insertion(text.as_bytes(), old, &meta)),
                None => {
                    let meta = format!("{{{meta}}}");
                    set(text, &members, "_meta", &meta, &mut edits, &mut added);
                }
            }
        }
        let comma = if inside.trim_start().starts_with('}') || added.is_empty() { "" } else { "," };
        edits.push((1..1, format!("{}{comma}", added.join(","))));
        edits.sort_by_key(|(span, _)| span.start);
        let mut out = String::with_capacity(text.len() + 64);
        let mut at = 0;
        for (span, by) in &edits {
            out.push_str(text.get(at..span.start)?);
            out.push_str(by);
            at = span.end;
        }
        out.push_str(text.get(at..)?);
        Some(out)
    }
}

/// Gives a member this value, in place of the one that it has.
fn set(
    text: &str,
    members: &Members<'_>,
    name: &str,
    value: &str,
    edits: &mut Vec<splice::Edit>,
    added: &mut Vec<String>,
) {
    let named = members.iter().filter(|(known, _)| *known == name);
    let spans: Vec<_> = named.filter_map(|(_, old)| splice::span(text.as_bytes(), old)).collect();
    if spans.is_empty() {
        added.push(format!("{}:{value}", splice::quoted(name)));
    }
    edits.extend(spans.into_iter().map(|span| (span, value.to_owned())));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(result: &str, additions: &Additions, expect: &str) {
        let raw: &RawValue = serde_json::from_str(result).unwrap();
        let got = additions.to(raw).unwrap();
        assert_eq!(got, expect);
        serde_json::from_str::<serde_json::Value>(&got).unwrap();
    }

    #[test]
    fn a_result_says_that_it_is_complete_and_keeps_its_bytes() {
        let none = Additions::default();
        check("{}", &none, r#"{"resultType":"complete"}"#);
        check(
            r#"{ "content":[ 1.0 ],"x":12345678901234567890123 }"#,
            &none,
            r#"{"resultType":"complete", "content":[ 1.0 ],"x":12345678901234567890123 }"#,
        );
        check(
            r#"{"a":1,"resultType":"input_required"}"#,
            &none,
            r#"{"a":1,"resultType":"complete"}"#,
        );
        let task = Additions { is_task: true, ..Additions::default() };
        check(
            r#"{"taskId":"t","resultType":"task"}"#,
            &task,
            r#"{"taskId":"t","resultType":"task"}"#,
        );
        assert!(none.to(serde_json::from_str("[1]").unwrap()).is_none());
        assert!(none.to(serde_json::from_str("null").unwrap()).is_none());
    }

    #[test]
    fn hints_and_meta_are_added_where_there_are_none() {
        let kept =
            Additions { is_kept: true, meta: vec![("a/b", "1".into())], ..Additions::default() };
        check(
            r#"{"tools":[]}"#,
            &kept,
            r#"{"resultType":"complete","ttlMs":0,"cacheScope":"private","_meta":{"a/b":1},"tools":[]}"#,
        );
        check(
            r#"{"ttlMs":7,"_meta":{"x":{}}}"#,
            &kept,
            r#"{"resultType":"complete","cacheScope":"private","ttlMs":7,"_meta":{"a/b":1,"x":{}}}"#,
        );
        check(
            r#"{"_meta":null}"#,
            &kept,
            r#"{"resultType":"complete","ttlMs":0,"cacheScope":"private","_meta":{"a/b":1}}"#,
        );
    }
}
