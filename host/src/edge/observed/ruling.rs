//! Which rule of the operator's has decided about a call, for the audit log. What decides is the scope's
//! catalog, before; here it is only named.

use crate::edge::scope;
use crate::edge::worker::Edge;
use crate::model::{EntryKind, PolicyRuling, Prefixes, Rights, Scope, ServerName};
use crate::protocol::methods::{self, Destination};

/// What a call is about: a server, and one of its entries by the name that the server has for it.
#[derive(Debug, Clone, Copy)]
pub struct RuledEntry<'a> {
    pub server: &'a ServerName,
    pub entry: Option<(EntryKind, &'a str)>,
}

/// What the rules for a client say about an entry that it reaches through a scope.
#[must_use]
pub fn ruling(edge: &Edge, scope: &Scope, rights: &Rights, about: RuledEntry<'_>) -> PolicyRuling {
    let RuledEntry { server, entry } = about;
    let Some((kind, own)) = entry else { return rights.ruling(server, None) };
    let spellings: Vec<String> = match kind {
        EntryKind::Resource => vec![own.to_owned()],
        EntryKind::Tool | EntryKind::Prompt => {
            prefixes(edge, scope, server).spellings(own).collect()
        }
    };
    let spellings: Vec<&str> = spellings.iter().map(String::as_str).collect();
    rights.ruling(server, Some((kind, &spellings)))
}

/// The prefixes with which a file may name what the server has.
fn prefixes(edge: &Edge, scope: &Scope, server: &ServerName) -> Prefixes {
    let separator = &edge.config.separator;
    let members = scope::members_in(edge, scope.of_url());
    let member = members.into_iter().find(|member| member.server == *server);
    member.map_or_else(
        || Prefixes::of(server.as_str(), separator),
        |member| member.prefixes(separator),
    )
}

/// The kind of entry that requests with this method are about.
#[must_use]
pub fn kind_of(method: &str) -> Option<EntryKind> {
    match methods::destination(method) {
        Destination::Tool => Some(EntryKind::Tool),
        Destination::Prompt => Some(EntryKind::Prompt),
        Destination::Resource => Some(EntryKind::Resource),
        _ => None,
    }
}
