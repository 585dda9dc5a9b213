//! Names the tools and prompts of several servers where they are shown together.

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::edge::config::PrefixMode;
use crate::model::ServerName;
use crate::protocol::methods::List;
use crate::protocol::objects::object_only;
use crate::protocol::splice;

use super::part::{Owner, ServerPart};

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
) -> (Vec<Bytes>, HashMap<String, Owner>) {
    let mut items = Vec::new();
    let mut owners: HashMap<String, Owner> = HashMap::new();
    let shown: Vec<(&ServerPart<'_>, &RawValue, String)> = parts
        .iter()
        .flat_map(|part| part.catalog.items(list).iter().map(move |raw| (part, &**raw)))
        .filter_map(|(part, raw)| Some((part, raw, name_of(raw)?)))
        .filter(|(part, _, name)| part.shows(list, name))
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
        let wanted = if prefixed {
            format!("{}{}{name}", prefix_of(server), naming.separator)
        } else {
            name.clone()
        };
        let composed = free_name(&owners, wanted, server);
        items.push(renamed(part, list, raw, name, &composed));
        owners.insert(composed, Owner { server: server.clone(), name: name.clone() });
    }
    (items, owners)
}

/// A server's name as the prefix of another name. One with a `/`, which is in no name that clients
/// and models take, becomes one of letters, digits, `-` and `_`.
fn prefix_of(server: &ServerName) -> Cow<'_, str> {
    if !server.as_str().contains('/') {
        return Cow::Borrowed(server.as_str());
    }
    let is_safe = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let safe: String = server.as_str().chars().map(|c| if is_safe(c) { c } else { '_' }).collect();
    match safe.trim_matches('_') {
        "" => Cow::Borrowed("server"),
        trimmed => Cow::Owned(trimmed.to_owned()),
    }
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
fn renamed(part: &ServerPart<'_>, list: List, raw: &RawValue, name: &str, composed: &str) -> Bytes {
    #[derive(Deserialize)]
    #[serde(remote = "Self")]
    struct Item<'a> {
        #[serde(borrow)]
        name: &'a RawValue,
    }
    object_only!(Item<'de>);
    let text = raw.get().as_bytes();
    let Ok(item) = serde_json::from_slice::<Item<'_>>(text) else {
        return Bytes::copy_from_slice(text);
    };
    let mut edits: Vec<splice::Edit> = part.described(list, raw, name).into_iter().collect();
    edits.extend(splice::span(text, item.name).map(|span| (span, splice::quoted(composed))));
    splice::edit(&Bytes::copy_from_slice(text), edits)
}

fn name_of(raw: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(remote = "Self")]
    struct NamedItem {
        name: String,
    }
    object_only!(NamedItem);
    serde_json::from_str::<NamedItem>(raw.get()).ok().map(|named| named.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_slash_becomes_a_safe_prefix() {
        for (name, expect) in [
            ("plain", "plain"),
            ("my server ü.x", "my server ü.x"),
            ("github.com/upstash/context7-mcp", "github_com_upstash_context7-mcp"),
            ("@21st-dev/magic", "21st-dev_magic"),
            ("ü/é", "server"),
            ("/", "server"),
        ] {
            assert_eq!(prefix_of(&ServerName::parse(name).unwrap()), expect);
        }
    }
}
