//! The words by which files of clients say which of their servers run.

use jsonc_parser::ast::Value;

use super::words::server_like;

/// What a list says of the servers that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum ServerList {
    /// They may run, and no others.
    Allowed,
    /// They do not run.
    Excluded,
}

/// The section in which Gemini CLI keeps them.
const GEMINI: &str = "mcp";

/// The keys, by the pattern that they stand below.
const WORDS: [(&str, &str, ServerList); 6] = [
    (GEMINI, "allowed", ServerList::Allowed),
    (GEMINI, "excluded", ServerList::Excluded),
    // Of Gemini CLI before it had the section.
    ("", "allowMCPServers", ServerList::Allowed),
    ("", "excludeMCPServers", ServerList::Excluded),
    // Of Claude Code.
    ("", "disabledMcpServers", ServerList::Excluded),
    ("", "disabledMcpjsonServers", ServerList::Excluded),
];

/// What the key below this pattern lists, if it lists servers.
pub(in crate::config) fn of(parent: &str, key: &str) -> Option<ServerList> {
    WORDS.iter().find(|(home, word, _)| *home == parent && *word == key).map(|(.., list)| *list)
}

/// Whether a key at the top of the file is the section of Gemini CLI. OpenCode has its servers under
/// the same name.
pub(in crate::config) fn is_gemini(key: &str, value: &Value<'_>) -> bool {
    let Some(object) = value.as_object().filter(|_| key == GEMINI) else { return false };
    let is_list = |key| object.get(key).is_some_and(|list| list.value.as_object().is_none());
    (is_list("allowed") || is_list("excluded")) && !server_like::holds_servers(object)
}

/// All keys at the top of the file, for the schema.
pub(in crate::config) fn outermost() -> impl Iterator<Item = &'static str> {
    let own = WORDS.iter().filter(|(home, ..)| home.is_empty()).map(|(_, word, _)| *word);
    own.chain([GEMINI])
}
