//! Takes out of what servers ask their clients what names a resource that the client is kept from: in a
//! request of the server's own, and in the questions that stand in a result.

use serde_json::value::RawValue;

use crate::protocol::members::members;
use crate::protocol::splice::Edit;
use crate::protocol::uri::resource_judge::ResourceJudge;

use super::links;

members! {
    /// The member of a result that has questions (2026-07-28, basic/patterns/mrtr).
    struct Asking {
        /// An object of requests, each by the server's name for it.
        questions = "inputRequests",
    }
}

members! {
    /// The member of such a question that may name resources.
    struct Question {
        /// Those of the method that it stands for.
        params = "params",
    }
}

/// The edits that take them out of the parameters of a server's request: messages of
/// `sampling/createMessage` with all that is within them, and content wherever else it stands. `None` if
/// the request itself is about such a resource, or readers may find another request.
pub fn withheld_in_params(
    text: &[u8],
    params: &RawValue,
    judge: &ResourceJudge,
) -> Option<Vec<Edit>> {
    if links::is_about_withheld(params, judge) {
        return None;
    }
    links::withheld(text, params, judge)
}

/// The same for all questions of a result.
pub fn withheld_in_questions(
    text: &[u8],
    result: &RawValue,
    judge: &ResourceJudge,
) -> Option<Vec<Edit>> {
    if !result.get().starts_with('{') {
        return Some(Vec::new());
    }
    let asking: Asking<'_> = serde_json::from_str(result.get()).ok()?;
    if asking.has_lookalike {
        return None;
    }
    let Some(questions) = asking.questions.filter(|asked| asked.get() != "null") else {
        return Some(Vec::new());
    };
    let mut edits = Vec::new();
    for question in values(questions)? {
        let question: Question<'_> = serde_json::from_str(question.get()).ok()?;
        if question.has_lookalike {
            return None;
        }
        if let Some(params) = question.params {
            edits.extend(withheld_in_params(text, params, judge)?);
        }
    }
    Some(edits)
}

/// The values of an object, each of them, also where two have one name.
fn values(object: &RawValue) -> Option<Vec<&RawValue>> {
    let members = crate::protocol::lenient::Members::of(object.get())?;
    Some(members.iter().map(|(_, value)| value).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Choice, Selection};
    use crate::protocol::splice;

    fn judge() -> ResourceJudge {
        let off = Choice { enabled: false, description: None };
        let resources = [("test://secret".to_owned(), off)].into();
        ResourceJudge::hiding(&Selection { resources, ..Selection::default() }).unwrap()
    }

    type Judging = fn(&[u8], &RawValue, &ResourceJudge) -> Option<Vec<Edit>>;

    fn shown(text: &str, judging: Judging) -> Option<String> {
        let text = bytes::Bytes::from(text.to_owned());
        let raw: &RawValue = serde_json::from_slice(&text).unwrap();
        let edits = judging(&text, raw, &judge())?;
        Some(String::from_utf8(splice::edit(&text, edits).to_vec()).unwrap())
    }

    /// Parameters whose one block names this URI, in every place that has blocks.
    fn asked(uri: &str) -> Vec<String> {
        let link = format!(r#"{{"type":"resource_link","uri":"{uri}"}}"#);
        let embedded = format!(r#"{{"type":"resource","resource":{{"uri":"{uri}"}}}}"#);
        let message = |content: &str| {
            format!(r#"{{"maxTokens":1,"messages":[{{"role":"user","content":{content}}}]}}"#)
        };
        let of_tool = format!(r#"{{"type":"tool_result","toolUseId":"a","content":[{link}]}}"#);
        let to_tool = format!(r#"{{"type":"tool_use","id":"a","name":"t","input":{embedded}}}"#);
        vec![
            message(&link),
            message(&format!("[{embedded}]")),
            message(&of_tool),
            message(&format!(r#"[{{"type":"text","text":"x"}},{of_tool}]"#)),
            message(&to_tool),
            format!(r#"{{"message":"m","content":[{link}]}}"#),
        ]
    }

    #[test]
    fn what_a_request_carries_of_hidden_resources_is_taken_out() {
        for (hidden, open) in asked("test://secret").iter().zip(asked("test://open")) {
            let left = shown(hidden, withheld_in_params).unwrap();
            assert!(!left.contains("secret") && left.contains("not available"), "{left}");
            let _: serde_json::Value = serde_json::from_str(&left).unwrap();
            assert_eq!(shown(&open, withheld_in_params).unwrap(), open);
        }
    }

    #[test]
    fn a_request_that_is_about_one_or_is_read_in_two_ways_is_not_told() {
        for params in [
            r#"{"uri":"test://secret"}"#,
            r#"{"resource":{"uri":"TEST://secret"}}"#,
            r#"{"messages":[],"messages":[{"content":{"uri":"test://secret"}}]}"#,
            r#"{"Messages":[{"content":{"uri":"test://secret"}}]}"#,
            r#"["test://secret"]"#,
        ] {
            assert_eq!(shown(params, withheld_in_params), None, "{params}");
        }
        let form = r#"{"message":"test://secret?","requestedSchema":{"type":"object"}}"#;
        assert_eq!(shown(form, withheld_in_params).unwrap(), form);
    }

    #[test]
    fn questions_in_a_result_are_judged_alike() {
        let result = |params: &str| {
            format!(
                r#"{{"resultType":"input_required","inputRequests":{{"a":{{"method":"roots/list"}},"b":{{"method":"sampling/createMessage","params":{params}}}}}}}"#
            )
        };
        for (hidden, open) in asked("test://secret").iter().zip(asked("test://open")) {
            let left = shown(&result(hidden), withheld_in_questions).unwrap();
            assert!(!left.contains("secret") && left.contains("not available"), "{left}");
            assert_eq!(shown(&result(&open), withheld_in_questions).unwrap(), result(&open));
        }
        for unclear in [
            r#"{"inputRequests":{},"inputRequests":{"a":{"params":{"uri":"test://secret"}}}}"#,
            r#"{"InputRequests":{"a":{"params":{"uri":"test://secret"}}}}"#,
            r#"{"inputRequests":{"a":{"params":{},"Params":{"uri":"test://secret"}}}}"#,
            r#"{"inputRequests":{"a":{"params":{"uri":"test://secret"}}}}"#,
        ] {
            assert_eq!(shown(unclear, withheld_in_questions), None, "{unclear}");
        }
        for other in [r#"{"content":[]}"#, "null", "7", "[]", r#"{"inputRequests":null}"#] {
            assert_eq!(shown(other, withheld_in_questions).unwrap(), other);
        }
    }
}
