//! Keys of other clients' files that mean the same as one of ours.

use jsonc_parser::ast::{Object, ObjectProp, Value};

/// Patterns of known keys, and how else they are spelled. Of several that an object has, the one
/// that stands first here counts.
const SPELLINGS: &[(&str, &[&str])] = &[
    // VS Code's, and Zed's.
    ("mcpServers", &["mcpServers", "servers", "context_servers"]),
    // Gemini CLI prefers `httpUrl` to `url`.
    (
        "mcpServers.*.url",
        &[
            "httpUrl",
            "url",
            "serverUrl",
            "baseUrl",
            "uri",
            "http_url",
            "httpURL",
            "server_url",
            "serverURL",
            "base_url",
            "baseURL",
            "endpoint",
        ],
    ),
    ("mcpServers.*.type", &["type", "transport", "transportType"]),
    ("mcpServers.*.env", &["env", "environment", "envs"]),
    // Goose's.
    ("mcpServers.*.command", &["command", "cmd"]),
    ("mcpServers.*.args", &["args", "arguments"]),
    // Of Codex and LiteLLM.
    ("mcpServers.*.headers", &["headers", "http_headers", "httpHeaders", "static_headers"]),
    // Of JetBrains and Warp.
    ("mcpServers.*.cwd", &["cwd", "workingDirectory", "working_directory"]),
    // MCPHub calls it an endpoint, as RFC 8414 does.
    ("mcpServers.*.oauth.tokenUrl", &["tokenUrl", "tokenEndpoint"]),
    ("mcpServers.*.oauth.authorizeUrl", &["authorizeUrl", "authorizationEndpoint"]),
];

/// Keys that dashboards also write for the kind of server that an entry is not. Blanks alone are no
/// value of theirs.
const BLANK_IS_ABSENT: &[&str] =
    &["mcpServers.*.command", "mcpServers.*.url", "mcpServers.*.type", "mcpServers.*.cwd"];

/// The property that gives the key its value; `null` counts as absent.
pub(in crate::config) fn chosen<'o, 'd>(
    object: &'o Object<'d>,
    pattern: &str,
    key: &str,
) -> Option<&'o ObjectProp<'d>> {
    let may_be_blank = !BLANK_IS_ABSENT.contains(&pattern);
    let given = |key: &str| {
        object.get(key).filter(|property| match &property.value {
            Value::NullKeyword(_) => false,
            Value::StringLit(text) => may_be_blank || !text.value.trim().is_empty(),
            _ => true,
        })
    };
    match of(pattern) {
        Some(spellings) => spellings.iter().find_map(|spelling| given(spelling)),
        None => given(key),
    }
}

/// The pattern of a key that stands below `parent` in another spelling.
pub(in crate::config) fn meant(parent: &str, name: &str) -> Option<&'static str> {
    SPELLINGS.iter().find_map(|(pattern, spellings)| {
        let (home, _) = pattern.rsplit_once('.').unwrap_or(("", pattern));
        (home == parent && spellings.contains(&name)).then_some(*pattern)
    })
}

/// The other spellings of the key with this pattern.
pub(in crate::config) fn others(pattern: &str) -> impl Iterator<Item = &'static &'static str> {
    let own = pattern.rsplit_once('.').map_or(pattern, |(_, key)| key).to_owned();
    of(pattern).unwrap_or_default().iter().filter(move |spelling| **spelling != own)
}

fn of(pattern: &str) -> Option<&'static [&'static str]> {
    SPELLINGS.iter().find(|(known, _)| *known == pattern).map(|(_, spellings)| *spellings)
}
