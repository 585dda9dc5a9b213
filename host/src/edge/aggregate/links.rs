//! Takes out of a server's results what names a resource that the client is kept from: links,
//! embedded resources, and contents of a resource that brings others along.

use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::edge::catalog::judge::ResourceJudge;
use crate::protocol::splice;

/// What stands in the place of a content block.
const NOTE: &str = r#"{"type":"text","text":"[a resource that is not available here]"}"#;

/// The members of a result that may name resources, and of a message in the result of a prompt.
#[derive(Deserialize)]
struct Naming<'a> {
    /// `tools/call`, and `tasks/result` of one.
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    /// `prompts/get`.
    #[serde(borrow, default)]
    messages: Option<&'a RawValue>,
    /// `resources/read`.
    #[serde(borrow, default)]
    contents: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow, default)]
    uri: Option<&'a RawValue>,
    #[serde(borrow, default)]
    resource: Option<&'a RawValue>,
}

/// The edits that take them out of a result.
pub fn withheld(text: &[u8], result: &RawValue, judge: &ResourceJudge) -> Vec<splice::Edit> {
    let Ok(naming) = serde_json::from_str::<Naming<'_>>(result.get()) else { return Vec::new() };
    let mut blocks = items(naming.content);
    for message in items(naming.messages) {
        let Ok(message) = serde_json::from_str::<Naming<'_>>(message.get()) else { continue };
        blocks.extend(items(message.content));
    }
    let is_withheld = |block: &&RawValue| names_withheld(block, judge);
    let notes = blocks.into_iter().filter(is_withheld);
    let mut edits: Vec<splice::Edit> =
        notes.filter_map(|block| Some((splice::span(text, block)?, NOTE.to_owned()))).collect();
    edits.extend(without(text, &items(naming.contents), is_withheld));
    edits
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

fn names_withheld(block: &RawValue, judge: &ResourceJudge) -> bool {
    let Ok(block) = serde_json::from_str::<Block<'_>>(block.get()) else { return false };
    let embedded = block.resource.and_then(|r| serde_json::from_str::<Block<'_>>(r.get()).ok());
    let uris = [block.uri, embedded.and_then(|embedded| embedded.uri)];
    uris.into_iter().flatten().filter_map(splice::string).any(|uri| judge.is_withheld(&uri))
}
