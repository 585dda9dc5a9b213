//! Which tools, prompts and resources of a server are shown, also by lists in the words of other
//! clients: `disabledTools`, `includeTools` and their like, and `tools` where that is a list, as
//! GitHub Copilot's files have it.

use std::collections::BTreeMap;

use jsonc_parser::ast::Value;
use jsonc_parser::common::Ranged;

use crate::config::reader::item::Item;
use crate::config::reader::section::Section;
use crate::config::reader::words::tool_lists::{self, Listed, ToolList};

/// Choices by the name of a tool or prompt, or the URI of a resource.
pub type Selections = BTreeMap<String, EntrySettings>;

/// What the operator chose for one tool, prompt or resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntrySettings {
    /// If false, the entry is not listed and requests for it are refused.
    pub enabled: bool,
    /// Replaces the server's own description.
    pub description: Option<String>,
}

/// Stands for every name without an entry of its own.
pub const ALL_OTHERS: &str = "*";

/// Adds what the lists hide to what `tools` says. Of several, each hides. `listed` is `tools` itself
/// if it is a list.
pub(in crate::config) fn narrow(
    entry: &Section<'_>,
    what: Listed,
    listed: Option<&Item<'_>>,
    tools: &mut Selections,
) {
    if let Some(item) = listed.filter(|item| item.is_empty()) {
        // Its owner has said which: none.
        item.warn("is an empty list: no tool is shown", "remove it, or write {}, to show them");
        include(Vec::new(), tools);
    }
    let listed = listed.map(Item::items).unwrap_or_default();
    let lists = lists(entry, what);
    let only = lists.iter().filter(|(list, _)| *list == ToolList::Only);
    for list in std::iter::once(&listed).chain(only.map(|(_, items)| items)) {
        // With a mistake in them all, nothing is named, and nothing shown.
        let is_given = !list.is_empty();
        let included = names(what, list);
        if is_given && !included.iter().any(|name| name == ALL_OTHERS) {
            include(included, tools);
        }
    }
    let without = lists.iter().filter(|(list, _)| *list == ToolList::Without);
    for name in without.flat_map(|(_, items)| names(what, items)) {
        let shown = EntrySettings { enabled: true, description: None };
        tools.entry(name).or_insert(shown).enabled = false;
    }
}

/// Refuses what FastMCP hides by tags: servers need not tell the tags of what they list, so that what is
/// meant to be hidden could be shown. It is hidden on other nodes that run the server, too.
pub(in crate::config) fn refuse_tags(entry: &Section<'_>, shown: [&mut Selections; 2]) {
    // Without any tag that is shown, nothing is; without any that is hidden, everything.
    let only = entry.get("include_tags");
    let without = entry.get("exclude_tags").filter(|item| !item.is_empty());
    let given: Vec<_> = only.into_iter().chain(without).collect();
    for item in &given {
        item.refuse(
            "shows or hides by tags, which cannot be honoured",
            "name the tools in \"includeTools\" or \"excludeTools\" in its place",
        );
    }
    if !given.is_empty() {
        shown.into_iter().for_each(|selections| include(Vec::new(), selections));
    }
}

/// The lists of tools in an entry, or of prompts or resources, in their order.
fn lists<'d>(entry: &Section<'d>, what: Listed) -> Vec<(ToolList, Vec<Item<'d>>)> {
    let Some(object) = entry.object else { return Vec::new() };
    let mut lists = Vec::new();
    for property in &object.properties {
        let (name, value) = (property.name.as_str(), &property.value);
        let list = tool_lists::of(name).filter(|(listed, _)| *listed == what);
        let Some((_, list)) = list.filter(|_| !matches!(value, Value::NullKeyword(_))) else {
            continue;
        };
        let place = entry.place.key(name, value.start());
        let item = Item { notes: entry.notes, place, value };
        let items = item.items();
        if what == Listed::Resources && list == ToolList::Only && !items.is_empty() {
            let advice = "hide the others by \"resources\": { URI: { \"enabled\": false } }";
            item.refuse("cannot be honoured for resources", advice);
            continue;
        }
        lists.push((list, items));
    }
    lists
}

/// Shows of the tools that `tools` shows only those that are named.
fn include(named: Vec<String>, tools: &mut Selections) {
    for (name, choice) in tools.iter_mut() {
        choice.enabled &= named.contains(name);
    }
    let choice = |enabled| EntrySettings { enabled, description: None };
    let shows_others = tools.get(ALL_OTHERS).is_none_or(|others| others.enabled);
    for name in named {
        tools.entry(name).or_insert_with(|| choice(shows_others));
    }
    tools.entry(ALL_OTHERS.to_owned()).or_insert_with(|| choice(false)).enabled = false;
}

/// The names. Gemini CLI allows `name(arguments)`, which means the tool.
fn names(what: Listed, items: &[Item<'_>]) -> Vec<String> {
    let name = |item: &Item<'_>| {
        let text = item.text()?;
        if text != ALL_OTHERS && text.contains('*') {
            item.warn("is read as a name, not as a pattern", "name each tool");
        }
        Some(match text.split_once('(') {
            Some((name, _)) if what == Listed::Tools && !name.is_empty() => name.to_owned(),
            _ => text,
        })
    };
    items.iter().filter_map(name).collect()
}
