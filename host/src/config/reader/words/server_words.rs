//! The words by which files of clients say which of their servers run, and which tools are denied,
//! beside the servers themselves.

use jsonc_parser::ast::Value;

use super::server_like;

/// What a list says of what it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum ServerList {
    /// These servers may run, and no others.
    Allowed,
    /// These servers do not run.
    Excluded,
    /// These tools are denied, by rules such as `mcp__server__tool`.
    Denied,
}

/// The keys, by the section that they stand in, if any.
const WORDS: [(&str, &str, ServerList); 10] = [
    // Of Gemini CLI.
    ("mcp", "allowed", ServerList::Allowed),
    ("mcp", "excluded", ServerList::Excluded),
    ("tools", "exclude", ServerList::Denied),
    // The same before it had sections.
    ("", "allowMCPServers", ServerList::Allowed),
    ("", "excludeMCPServers", ServerList::Excluded),
    ("", "excludeTools", ServerList::Denied),
    // Of Claude Code.
    ("", "disabledServers", ServerList::Excluded),
    ("", "disabledMcpServers", ServerList::Excluded),
    ("", "disabledMcpjsonServers", ServerList::Excluded),
    ("permissions", "deny", ServerList::Denied),
];

/// What the key in this section lists, if it lists servers.
pub(in crate::config) fn of(section: &str, key: &str) -> Option<ServerList> {
    WORDS.iter().find(|(home, word, _)| *home == section && *word == key).map(|(.., list)| *list)
}

/// Every section with a key in it, and what that lists. A section without a name is the file.
pub(in crate::config) fn all() -> impl Iterator<Item = (&'static str, &'static str, ServerList)> {
    WORDS.into_iter()
}

/// Whether a key at the top of the file is a section with such lists. OpenCode has its servers under
/// one of these names, and switches of tools under another.
pub(in crate::config) fn is_section(key: &str, value: &Value<'_>) -> bool {
    let Some(object) = value.as_object().filter(|_| !key.is_empty()) else { return false };
    let is_list = |(home, word, _): &(&str, &str, ServerList)| {
        let list = object.get(word).filter(|_| *home == key);
        list.is_some_and(|list| list.value.as_object().is_none())
    };
    WORDS.iter().any(is_list) && !server_like::holds_servers(object)
}

/// All keys at the top of the file, for the schema.
pub(in crate::config) fn outermost() -> impl Iterator<Item = &'static str> {
    WORDS.iter().map(|(home, word, _)| if home.is_empty() { *word } else { *home })
}
