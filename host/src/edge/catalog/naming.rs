//! Names the tools and prompts of several servers where they are shown together.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::edge::config::PrefixMode;
use crate::model::ServerName;
use crate::protocol::lenient::Members;
use crate::protocol::methods::List;
use crate::protocol::splice;

use super::app_links;
use super::part::{Owner, ServerPart};
use super::uris::Uris;

/// How the names of tools and prompts are composed.
#[derive(Debug, Clone, Copy)]
pub struct Naming<'a> {
    pub mode: PrefixMode,
    pub separator: &'a str,
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
    let shown: Vec<(&ServerPart<'_>, &RawValue, String)> = parts
        .iter()
        .flat_map(|part| part.catalog.items(list).iter().map(move |raw| (part, &**raw)))
        .filter_map(|(part, raw)| Some((part, raw, name_of(raw)?)))
        .filter(|(part, _, name)| part.shows(list, name))
        .collect();
    // A name is shown once of each server: a call can mean one entry only.
    let mut seen: HashSet<(&ServerName, String)> = HashSet::new();
    let shown: Vec<_> = shown
        .into_iter()
        .filter(|(part, _, name)| seen.insert((&part.member.server, name.clone())))
        .collect();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for (_, _, name) in &shown {
        *counts.entry(name).or_default() += 1;
    }
    for (part, raw, name) in &shown {
        let server = &part.member.server;
        let prefixed = match naming.mode {
            PrefixMode::Always => true,
            PrefixMode::Never => false,
            PrefixMode::OnCollision => counts.get(name.as_str()).is_some_and(|count| *count > 1),
        };
        let wanted =
            if prefixed { format!("{server}{}{name}", naming.separator) } else { name.clone() };
        let composed = free_name(&owners, wanted, server);
        items.push(renamed(part, list, raw, name, &composed, uris));
        owners.insert(composed, Owner { server: server.clone(), name: name.clone() });
    }
    (items, owners)
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
fn renamed(
    part: &ServerPart<'_>,
    list: List,
    raw: &RawValue,
    name: &str,
    composed: &str,
    uris: &Uris,
) -> Bytes {
    let text = raw.get().as_bytes();
    let Some(written) = Members::of(raw.get()).and_then(|item| item.get("name")) else {
        return Bytes::copy_from_slice(text);
    };
    let mut edits: Vec<splice::Edit> = part.described(list, raw, name).into_iter().collect();
    edits.extend(splice::span(text, written).map(|span| (span, splice::quoted(composed))));
    if list == List::Tools {
        let shared = uris.shared(&part.member.server);
        edits.extend(app_links::renamed(raw, |own| shared.get(own).cloned()));
    }
    splice::edit(&Bytes::copy_from_slice(text), edits)
}

fn name_of(raw: &RawValue) -> Option<String> {
    Members::of(raw.get())?.text("name")
}
