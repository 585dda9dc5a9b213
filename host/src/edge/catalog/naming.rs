//! Names the tools and prompts of several servers where they are shown together.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::edge::config::PrefixMode;
use crate::model::{Choice, EntryKind, Prefixes, ServerName, safe_prefix};
use crate::protocol::lenient::Members;
use crate::protocol::methods::List;
use crate::protocol::splice;

use super::app_links;
use super::part::{Owner, ServerPart, described};
use super::uris::Uris;

/// How the names of tools and prompts are composed.
#[derive(Debug, Clone, Copy)]
pub struct Naming<'a> {
    pub mode: PrefixMode,
    pub separator: &'a str,
}

/// A tool or prompt that a scope shows.
struct Shown<'a> {
    part: &'a ServerPart<'a>,
    raw: &'a RawValue,
    /// Its server's name of it.
    name: String,
    choice: Option<Choice>,
}

/// Tools or prompts under their composed names.
pub fn named(
    parts: &[ServerPart<'_>],
    list: List,
    naming: Naming<'_>,
    uris: &Uris,
) -> (Vec<Bytes>, HashMap<String, Owner>) {
    let mut items = Vec::new();
    let mut owners: HashMap<String, Owner> = HashMap::new();
    let shown: Vec<Shown<'_>> =
        parts.iter().flat_map(|part| shown(part, list, naming.separator)).collect();
    // A name is shown once of each server: a call can mean one entry only.
    let mut seen: HashSet<(&ServerName, String)> = HashSet::new();
    let shown: Vec<_> = shown
        .into_iter()
        .filter(|entry| seen.insert((&entry.part.member.server, entry.name.clone())))
        .collect();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for entry in &shown {
        *counts.entry(&entry.name).or_default() += 1;
    }
    for entry in &shown {
        let Shown { part, name, .. } = entry;
        let prefixed = match naming.mode {
            PrefixMode::Always => true,
            PrefixMode::Never => false,
            PrefixMode::OnCollision => counts.get(name.as_str()).is_some_and(|count| *count > 1),
        };
        let wanted = if prefixed {
            format!("{}{}{name}", safe_prefix(part.member.shown_name()), naming.separator)
        } else {
            name.clone()
        };
        let server = &part.member.server;
        let composed = free_name(&owners, wanted, server);
        items.push(renamed(entry, list, &composed, uris));
        owners.insert(composed, Owner { server: server.clone(), name: name.clone() });
    }
    (items, owners)
}

/// What the scope shows of a server's tools or prompts. Group and file name them as the server does,
/// or with a prefix.
fn shown<'a>(part: &'a ServerPart<'a>, list: List, separator: &str) -> Vec<Shown<'a>> {
    let items = part.catalog.items(list).iter();
    let items: Vec<(&RawValue, String)> =
        items.filter_map(|raw| Some((&**raw, name_of(raw)?))).collect();
    let prefixes = part.member.prefixes(separator);
    let own: HashSet<&str> = items.iter().map(|(_, name)| name.as_str()).collect();
    let has = |name: &str| own.contains(name);
    let of_group: Option<HashSet<&str>> = part
        .named(list)
        .map(|names| names.iter().filter_map(|name| prefixes.own_name(name, has)).collect());
    let choices = part.choices(list);
    // The server's own file knows no alias.
    let of_file = Prefixes::of(part.member.server.as_str(), separator);
    let kind = if list == List::Prompts { EntryKind::Prompt } else { EntryKind::Tool };
    let shown = items.into_iter().filter(|(_, name)| {
        of_group.as_ref().is_none_or(|of_group| of_group.contains(name.as_str()))
            && part.member.leaves(kind, name, &prefixes)
    });
    shown
        .map(|(raw, name)| {
            let choice = choices.and_then(|choices| of_file.choice(choices, &name));
            Shown { part, raw, name, choice }
        })
        .filter(|shown| shown.choice.as_ref().is_none_or(|choice| choice.enabled))
        .collect()
}

/// A composed name that is still free: the first server in the file keeps a name, the next one
/// gets a number behind it.
fn free_name(owners: &HashMap<String, Owner>, wanted: String, server: &ServerName) -> String {
    let Some(first) = owners.get(&wanted) else { return wanted };
    let free = (2..).map(|n| format!("{wanted}-{n}")).find(|name| !owners.contains_key(name));
    let free = free.unwrap_or(wanted);
    tracing::warn!(
        "name collision: {}'s {} keeps its name; {server}'s is shown as {free}",
        first.server,
        first.name
    );
    free
}

/// The item with its composed name, and with the operator's description if there is one. Other
/// bytes stay as they are.
fn renamed(shown: &Shown<'_>, list: List, composed: &str, uris: &Uris) -> Bytes {
    let text = shown.raw.get().as_bytes();
    let Some(written) = Members::of(shown.raw.get()).and_then(|item| item.get("name")) else {
        return Bytes::copy_from_slice(text);
    };
    let description = shown.choice.as_ref().and_then(|choice| described(shown.raw, choice));
    let mut edits: Vec<splice::Edit> = description.into_iter().collect();
    edits.extend(splice::span(text, written).map(|span| (span, splice::quoted(composed))));
    if list == List::Tools {
        let shared = uris.shared(&shown.part.member.server);
        edits.extend(app_links::renamed(shown.raw, |own| shared.get(own).cloned()));
    }
    splice::edit(&Bytes::copy_from_slice(text), edits)
}

/// The name of a tool or prompt.
pub fn name_of(raw: &RawValue) -> Option<String> {
    Members::of(raw.get())?.text("name")
}
