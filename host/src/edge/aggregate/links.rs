//! Takes out of a server's answers what names a resource that the client is kept from: links,
//! embedded resources, contents of a resource that brings others along, and the data of errors.

use std::ops::Range;

use serde_json::value::RawValue;

use crate::protocol::members::members;
use crate::protocol::splice;
use crate::protocol::uri::resource_judge::ResourceJudge;

/// What stands in the place of a content block.
const NOTE: &str = r#"{"type":"text","text":"[a resource that is not available here]"}"#;

members! {
    /// The members of a result that may name resources, and of a message in the result of a prompt.
    struct Naming {
        /// `tools/call`, and `tasks/result` of one.
        content = "content",
        /// `prompts/get`.
        messages = "messages",
        /// `resources/read`.
        contents = "contents",
    }
}

/// Deepest nesting of blocks within blocks that is judged. The specification knows one level.
const DEEPEST: usize = 8;

members! {
    /// The members of a content block that may name a resource.
    struct Block {
        /// That of a link, or of contents.
        uri = "uri",
        /// An embedded resource.
        resource = "resource",
        /// Blocks within it: those of a `tool_result` (2025-11-25, schema, `ToolResultContent`).
        content = "content",
        /// What a `tool_use` hands to its tool (there, `ToolUseContent`).
        input = "input",
    }
}

members! {
    /// The member of an error that may name a resource.
    struct ErrorNaming {
        /// That of "Resource not found" has its `uri` (2025-11-25, server/resources).
        data = "data",
    }
}

members! {
    /// The members of a task that may name resources.
    struct TaskNaming {
        /// What the call has come to.
        result = "result",
        /// Why it has failed.
        error = "error",
    }
}

/// The edits that take them out of an error. `None` if readers may find other data in it.
pub fn withheld_in_error(
    text: &[u8],
    error: &RawValue,
    judge: &ResourceJudge,
) -> Option<Vec<splice::Edit>> {
    if is_scalar(error) {
        return Some(Vec::new());
    }
    let read: ErrorNaming<'_> = serde_json::from_str(error.get()).ok()?;
    if read.has_lookalike {
        return None;
    }
    let Some(data) = read.data else { return Some(Vec::new()) };
    let is_withheld = |item: &RawValue| !withheld_blocks(item, judge).is_empty();
    if !items(Some(data)).into_iter().any(is_withheld) {
        return Some(Vec::new());
    }
    Some(vec![(splice::span(text, data)?, "null".to_owned())])
}

/// The edits that take them out of a result. `None` if readers of JSON may find other blocks in it
/// than are found here: then nothing of it may be shown.
pub fn withheld(
    text: &[u8],
    result: &RawValue,
    judge: &ResourceJudge,
) -> Option<Vec<splice::Edit>> {
    let Some(naming) = naming(result)? else { return Some(Vec::new()) };
    let mut blocks = items(naming.content);
    for message in items(naming.messages) {
        let content = self::naming(message)?.and_then(|message| message.content);
        blocks.extend(items(content));
    }
    let is_withheld = |block: &&RawValue| !withheld_blocks(block, judge).is_empty();
    let notes = blocks.into_iter().flat_map(|block| withheld_blocks(block, judge));
    let mut edits: Vec<splice::Edit> =
        notes.filter_map(|block| Some((splice::span(text, block)?, NOTE.to_owned()))).collect();
    edits.extend(without(text, &items(naming.contents), is_withheld));
    Some(edits)
}

/// The same of the result or error that a task has ended with, and carries (SEP-2663).
pub fn withheld_in_task(
    text: &[u8],
    task: &RawValue,
    judge: &ResourceJudge,
) -> Option<Vec<splice::Edit>> {
    if is_scalar(task) {
        return Some(Vec::new());
    }
    let read: TaskNaming<'_> = serde_json::from_str(task.get()).ok()?;
    if read.has_lookalike {
        return None;
    }
    let mut edits = Vec::new();
    if let Some(result) = read.result {
        edits.extend(withheld(text, result, judge)?);
    }
    if let Some(error) = read.error {
        edits.extend(withheld_in_error(text, error, judge)?);
    }
    Some(edits)
}

/// The members of a result or a message that count. `Some(None)` if it is a scalar, which has none;
/// `None` if not everybody reads the same.
fn naming(value: &RawValue) -> Option<Option<Naming<'_>>> {
    if is_scalar(value) {
        return Some(None);
    }
    let naming: Naming<'_> = serde_json::from_str(value.get()).ok()?;
    (!naming.has_lookalike).then_some(Some(naming))
}

/// Whether it is neither an object nor an array.
fn is_scalar(value: &RawValue) -> bool {
    !value.get().starts_with(['{', '['])
}

/// The edits that remove items of an array, each run of them with one comma.
fn without(
    text: &[u8],
    items: &[&RawValue],
    is_out: impl Fn(&&RawValue) -> bool,
) -> Vec<splice::Edit> {
    let spans: Vec<(Range<usize>, bool)> =
        items.iter().filter_map(|i| Some((splice::span(text, i)?, is_out(i)))).collect();
    let mut edits = Vec::new();
    let mut before: Option<usize> = None;
    let mut run: Option<Range<usize>> = None;
    for (span, is_out) in spans {
        match (is_out, run.take()) {
            (true, None) => run = Some(span),
            (true, Some(begun)) => run = Some(begun.start..span.end),
            (false, None) => before = Some(span.end),
            (false, Some(begun)) => {
                edits.push((begun.start..span.start, String::new()));
                before = Some(span.end);
            }
        }
    }
    edits.extend(run.map(|run| (before.unwrap_or(run.start)..run.end, String::new())));
    edits
}

/// Whether an edit lies within one of these, and would change what is no longer there.
pub fn is_within(edit: &Range<usize>, others: &[splice::Edit]) -> bool {
    others.iter().any(|(other, _)| other.start <= edit.start && edit.end <= other.end)
}

/// The items of an array; the value itself if it is none.
fn items(value: Option<&RawValue>) -> Vec<&RawValue> {
    let Some(value) = value else { return Vec::new() };
    serde_json::from_str(value.get()).unwrap_or_else(|_| vec![value])
}

/// Of a block and the blocks within it those that name a resource that the client is kept from, or
/// might to some readers.
fn withheld_blocks<'a>(block: &'a RawValue, judge: &ResourceJudge) -> Vec<&'a RawValue> {
    let mut withheld = Vec::new();
    let mut level = vec![block];
    for depth in 0.. {
        let mut within = Vec::new();
        for block in level {
            match self::block(block).filter(|_| depth < DEEPEST) {
                _ if is_scalar(block) => {}
                Some(read) if !names_withheld(&read, judge) => {
                    within.extend(items(read.content));
                    within.extend(items(read.input));
                }
                Some(_) | None => withheld.push(block),
            }
        }
        if within.is_empty() {
            break;
        }
        level = within;
    }
    withheld
}

/// Whether the value itself names such a resource, or might to some readers: not what is within it.
pub fn is_about_withheld(value: &RawValue, judge: &ResourceJudge) -> bool {
    !is_scalar(value) && block(value).is_none_or(|read| names_withheld(&read, judge))
}

fn names_withheld(read: &Block<'_>, judge: &ResourceJudge) -> bool {
    let embedded = match read.resource.filter(|resource| !is_scalar(resource)) {
        Some(resource) => match self::block(resource) {
            Some(embedded) => embedded.uri,
            None => return true,
        },
        None => None,
    };
    let uris = [read.uri, embedded].into_iter().flatten().filter(|uri| uri.get() != "null");
    let mut uris = uris.map(splice::string);
    // What cannot be decoded alike by all is no URI that could be judged.
    uris.any(|uri| uri.is_none_or(|uri| judge.is_withheld(&uri)))
}

fn block(value: &RawValue) -> Option<Block<'_>> {
    serde_json::from_str(value.get()).ok().filter(|block: &Block<'_>| !block.has_lookalike)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Choice, Selection};

    fn judge() -> ResourceJudge {
        let off = Choice { enabled: false, description: None };
        let resources = [("test://secret".to_owned(), off)].into();
        let selection = Selection { resources, ..Selection::default() };
        ResourceJudge::hiding(&selection).unwrap()
    }

    /// The result without what is hidden; `None` if it cannot be judged.
    fn shown(result: &str) -> Option<String> {
        let judge = judge();
        let text = bytes::Bytes::from(result.to_owned());
        let raw: &RawValue = serde_json::from_slice(&text).unwrap();
        let edits = withheld(&text, raw, &judge)?;
        Some(String::from_utf8(splice::edit(&text, edits).to_vec()).unwrap())
    }

    #[test]
    fn what_a_task_has_come_to_is_judged_too() {
        let judge = judge();
        let shown = |task: &str| {
            let text = bytes::Bytes::from(task.to_owned());
            let raw: &RawValue = serde_json::from_slice(&text).unwrap();
            let edits = withheld_in_task(&text, raw, &judge)?;
            Some(String::from_utf8(splice::edit(&text, edits).to_vec()).unwrap())
        };
        let link = r#"{"type":"resource_link","uri":"test://secret"}"#;
        let done = |block: &str| format!(r#"{{"taskId":"t","result":{{"content":[{block}]}}}}"#);
        assert_eq!(shown(&done(link)).as_deref(), Some(&*done(NOTE)));
        let failed = r#"{"error":{"code":1,"message":"m","data":{"uri":"test://secret"}}}"#;
        let expect = r#"{"error":{"code":1,"message":"m","data":null}}"#;
        assert_eq!(shown(failed).as_deref(), Some(expect));
        assert_eq!(shown(r#"{"status":"working"}"#).as_deref(), Some(r#"{"status":"working"}"#));
        for unclear in [r#"{"result":{},"result":{}}"#, r#"{"Result":{}}"#] {
            assert_eq!(shown(unclear), None, "{unclear}");
        }
    }

    #[test]
    fn what_names_a_hidden_resource_is_taken_out() {
        for (block, is_out) in [
            (r#"{"type":"resource_link","uri":"test://secret"}"#, true),
            (r#"{"type":"resource_link","uri":"TEST://secret"}"#, true),
            (r#"{"type":"resource","resource":{"uri":"test://s\u0065cret","text":"x"}}"#, true),
            (r#"{"type":"resource_link","uri":"test://open","uri":"test://open"}"#, true),
            (r#"{"type":"resource_link","uri":"test://open","URI":"test://secret"}"#, true),
            (r#"{"type":"resource","resource":["test://secret"]}"#, true),
            (r#"["resource_link","test://secret"]"#, true),
            (r#"{"type":"resource_link","uri":"test://open"}"#, false),
            (r#"{"type":"tool_result","content":[],"content":[{"uri":"test://secret"}]}"#, true),
            (r#"{"type":"tool_result","content":[],"Content":[{"uri":"test://secret"}]}"#, true),
            (r#"{"type":"tool_result","content":[{"type":"text","text":"test://secret"}]}"#, false),
            (r#"{"type":"tool_use","input":{},"input":{"uri":"test://secret"}}"#, true),
            (r#"{"type":"tool_use","input":{"uri":"test://open"}}"#, false),
            (r#"{"type":"text","text":"test://secret"}"#, false),
            (r#""test://secret""#, false),
        ] {
            let expect = if is_out { NOTE } else { block };
            let results = |block: &str| {
                [
                    format!(r#"{{"content":[{block}]}}"#),
                    format!(r#"{{"messages":[{{"role":"user","content":{block}}}]}}"#),
                ]
            };
            // An array in the place of one block is an array of blocks.
            let count = if block.starts_with('[') { 1 } else { 2 };
            for (result, expect) in results(block).iter().zip(results(expect)).take(count) {
                assert_eq!(shown(result).as_deref(), Some(&*expect), "{result}");
            }
        }
        let contents = r#"{"contents":[{"uri":"test://a"},{"uri":"test://secret"}]}"#;
        assert_eq!(shown(contents).unwrap(), r#"{"contents":[{"uri":"test://a"}]}"#);
        assert_eq!(shown("null").unwrap(), "null");
    }

    #[test]
    fn blocks_within_blocks_are_judged_too() {
        let link = r#"{"type":"resource_link","uri":"test://secret"}"#;
        let within = |inner: &str| {
            format!(
                r#"{{"type":"tool_result","toolUseId":"a","content":[{{"text":"x"}},{inner}]}}"#
            )
        };
        let one = |inner: &str| format!(r#"{{"content":{inner}}}"#);
        let used =
            |inner: &str| format!(r#"{{"type":"tool_use","id":"a","name":"t","input":{inner}}}"#);
        let nested = |inner: &str| within(&one(inner));
        for wrap in [&within as &dyn Fn(&str) -> String, &one, &used, &nested] {
            let result = |inner: &str| format!(r#"{{"content":[{}]}}"#, wrap(inner));
            assert_eq!(shown(&result(link)).unwrap(), result(NOTE));
            let message =
                |inner: &str| format!(r#"{{"messages":[{{"content":{}}}]}}"#, wrap(inner));
            assert_eq!(shown(&message(link)).unwrap(), message(NOTE));
        }
        let mut deep = link.to_owned();
        for _ in 0..1000 {
            deep = within(&deep);
        }
        let shown = shown(&one(&deep)).unwrap();
        assert!(!shown.contains("secret") && shown.contains(NOTE), "{shown}");
    }

    #[test]
    fn the_data_of_an_error_is_judged() {
        let judge = judge();
        let shown = |error: &str| {
            let text = bytes::Bytes::from(error.to_owned());
            let raw: &RawValue = serde_json::from_slice(&text).unwrap();
            let edits = withheld_in_error(&text, raw, &judge)?;
            Some(String::from_utf8(splice::edit(&text, edits).to_vec()).unwrap())
        };
        let error = |data: &str| format!(r#"{{"code":-32002,"message":"no","data":{data}}}"#);
        for data in [
            r#"{"uri":"test://secret"}"#,
            r#"[{"x":1},{"uri":"TEST://secret"}]"#,
            r#"{"resource":{"uri":"test://secret"}}"#,
            r#"{"content":[{"type":"resource_link","uri":"test://secret"}]}"#,
            r#"{"uri":"test://open","uri":"test://secret"}"#,
        ] {
            assert_eq!(shown(&error(data)).unwrap(), error("null"), "{data}");
        }
        for data in [r#"{"uri":"test://open"}"#, "7", "null", r#""test://secret""#, "[]"] {
            assert_eq!(shown(&error(data)).unwrap(), error(data));
        }
        assert_eq!(
            shown(r#"{"code":1,"message":"","data":1,"data":{"uri":"test://secret"}}"#),
            None
        );
        assert_eq!(shown(r#"{"code":1,"message":"","Data":{"uri":"test://secret"}}"#), None);
        assert_eq!(shown("7").unwrap(), "7");
    }

    #[test]
    fn a_result_that_readers_differ_on_is_not_judged() {
        for result in [
            r#"{"content":[],"content":[{"uri":"test://secret"}]}"#,
            r#"{"content":[],"cont\u0065nt":[]}"#,
            r#"{"content":[],"Content":[]}"#,
            r#"[[{"uri":"test://secret"}]]"#,
            r#"{"messages":[{"content":[],"content":[]}]}"#,
            r#"{"messages":[["user",{"uri":"test://secret"}]]}"#,
        ] {
            assert_eq!(shown(result), None, "{result}");
        }
    }
}
