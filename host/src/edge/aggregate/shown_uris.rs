//! Finds the URIs in a server's message that are shown under another name.

use std::collections::HashMap;
use std::ops::Range;

use serde_json::value::RawValue;

use crate::edge::catalog::app_links;
use crate::protocol::splice::{self, Edit};

/// The edits that rewrite every `uri` inside a value, at any depth: contents, embedded resources, links
/// to resources, and the user interfaces of tools. In valid JSON only a name is followed by a colon, so
/// that one pass finds them.
pub fn edits(text: &[u8], value: &RawValue, uris: &HashMap<String, String>) -> Vec<Edit> {
    let mut edits = Vec::new();
    let Some(whole) = splice::span(text, value) else { return edits };
    let mut at = whole.start;
    let mut is_named = false;
    while let Some(string) = next_string(text, at..whole.end) {
        at = string.end;
        if std::mem::take(&mut is_named) {
            let shown = string_at(text, &string).and_then(|uri| uris.get(&uri));
            edits.extend(shown.map(|shown| (string.clone(), splice::quoted(shown))));
        } else if let Some(behind) = behind_colon(text, string.end) {
            at = behind;
            let is_uri = string_at(text, &string)
                .is_some_and(|name| name == "uri" || app_links::LINKS.contains(&&*name));
            is_named = is_uri && text.get(behind) == Some(&b'"');
        }
    }
    edits
}

/// The next string within a part of valid JSON, quotes included.
fn next_string(text: &[u8], part: Range<usize>) -> Option<Range<usize>> {
    let start = part.start + memchr::memchr(b'"', text.get(part)?)?;
    let mut end = start + 1;
    loop {
        end += memchr::memchr2(b'"', b'\\', text.get(end..)?)?;
        if text.get(end) == Some(&b'"') {
            return Some(start..end + 1);
        }
        end += 2;
    }
}

fn string_at(text: &[u8], string: &Range<usize>) -> Option<String> {
    serde_json::from_slice(text.get(string.clone())?).ok()
}

/// The position of the value, if a colon comes next.
fn behind_colon(text: &[u8], at: usize) -> Option<usize> {
    let solid = |at: usize| {
        let space = text.get(at..)?.iter().position(|byte| !byte.is_ascii_whitespace())?;
        Some(at + space)
    };
    let colon = solid(at).filter(|at| text.get(*at) == Some(&b':'))?;
    solid(colon + 1)
}
