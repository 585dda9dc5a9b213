//! The resources that tools name as their user interface (MCP Apps, SEP-1865): `_meta.ui.resourceUri`,
//! and `_meta["ui/resourceUri"]` in its earlier form. They resolve in the scope that shows the tool.

use serde_json::value::RawValue;

use crate::protocol::lenient::{self, Members};
use crate::protocol::splice;

/// The names of members whose value is the URI of a resource, in results too.
pub const LINKS: [&str; 2] = ["resourceUri", "ui/resourceUri"];

/// The URIs that a tool names, with the places where it does.
#[must_use]
pub fn of_tool(tool: &RawValue) -> Vec<(&RawValue, String)> {
    // Most tools have none.
    if !tool.get().contains("esourceUri") {
        return Vec::new();
    }
    let meta = Members::of(tool.get()).and_then(|tool| tool.object("_meta"));
    let Some(meta) = meta else { return Vec::new() };
    let ui = meta.object("ui").and_then(|ui| ui.get(LINKS[0]));
    let both = [ui, meta.get(LINKS[1])].into_iter().flatten();
    both.filter_map(|raw| Some((raw, lenient::text(raw)?))).collect()
}

/// The edits by which a tool names its resources as they are shown.
pub fn renamed<'a>(
    tool: &'a RawValue,
    shown: impl Fn(&str) -> Option<String> + 'a,
) -> impl Iterator<Item = splice::Edit> + 'a {
    of_tool(tool).into_iter().filter_map(move |(raw, own)| {
        Some((splice::span(tool.get().as_bytes(), raw)?, splice::quoted(&shown(&own)?)))
    })
}
