//! Which tools, prompts and resources of a server are shown, also by lists in the words of other
//! clients: `disabledTools`, `excludeTools`, `includeTools`, and `tools` where that is a list, as
//! GitHub Copilot's files have it.

use std::collections::BTreeMap;

use crate::config::reader::item::Item;
use crate::config::reader::section::Section;

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
    listed: Option<&Item<'_>>,
    tools: &mut Selections,
) {
    let items = |key| entry.items(key);
    let listed = listed.map(Item::items).unwrap_or_default();
    for list in [listed, items("includeTools")] {
        // With a mistake in them all, nothing is named, and nothing shown.
        let is_given = !list.is_empty();
        let included = names(&list);
        if is_given && !included.iter().any(|name| name == ALL_OTHERS) {
            include(included, tools);
        }
    }
    for key in ["disabledTools", "excludeTools"] {
        for name in names(&items(key)) {
            let shown = EntrySettings { enabled: true, description: None };
            tools.entry(name).or_insert(shown).enabled = false;
        }
    }
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
fn names(items: &[Item<'_>]) -> Vec<String> {
    let name = |text: String| match text.split_once('(') {
        Some((name, _)) if !name.is_empty() => name.to_owned(),
        _ => text,
    };
    items.iter().filter_map(|item| item.text()).map(name).collect()
}
