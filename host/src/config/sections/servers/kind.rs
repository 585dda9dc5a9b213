//! What kind of server an entry is: `type`, in the spellings of clients, or what else it says.

use crate::config::reader::place::quote;
use crate::config::reader::section::Section;
use crate::config::reader::words::nearest::suggestion;
use crate::config::reader::words::server_like;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum TransportKind {
    Stdio,
    Http,
    Sse,
    HttpOrSse,
    /// A type that MCPHub runs and Mooring does not; with the reason for the operator.
    Unsupported(&'static str),
}

const OPENAPI: TransportKind = TransportKind::Unsupported("openapi servers are not supported");
const BUILTIN: TransportKind = TransportKind::Unsupported("builtin servers are not supported");

/// The types, as findings name them.
const NAMES: [&str; 5] = ["stdio", "streamable-http", "sse", "openapi", "builtin"];

/// The spellings of types, in lower case and without anything but letters.
const SPELLINGS: [(&str, TransportKind); 22] = [
    ("stdio", TransportKind::Stdio),
    ("local", TransportKind::Stdio),
    ("command", TransportKind::Stdio),
    ("streamablehttp", TransportKind::Http),
    ("streamable", TransportKind::Http),
    ("httpstream", TransportKind::Http),
    ("httpstreamable", TransportKind::Http),
    ("httpstreaming", TransportKind::Http),
    ("http", TransportKind::Http),
    ("https", TransportKind::Http),
    ("sse", TransportKind::Sse),
    ("httpsse", TransportKind::Sse),
    ("serversentevents", TransportKind::Sse),
    ("process", TransportKind::Stdio),
    ("remote", TransportKind::HttpOrSse),
    ("url", TransportKind::HttpOrSse),
    // The strategies of mcp-remote.
    ("httponly", TransportKind::Http),
    ("sseonly", TransportKind::Sse),
    ("httpfirst", TransportKind::HttpOrSse),
    ("ssefirst", TransportKind::HttpOrSse),
    ("openapi", OPENAPI),
    ("builtin", BUILTIN),
];

/// The kind of an entry; `None` if there is a mistake, which becomes a finding.
pub(in crate::config) fn of(entry: &Section<'_>) -> Option<TransportKind> {
    if let Some(item) = entry.get("type") {
        let given = item.text()?;
        let found = spelled(&given);
        if found.is_none() {
            item.refuse(
                format!("{} is not a type of server", quote(&given)),
                format!("use one of {}{}", NAMES.join(", "), suggestion(&given, &NAMES)),
            );
        }
        return found;
    }
    let has = |key| entry.get(key).is_some();
    match (has("command"), has("url")) {
        (true, false) => Some(TransportKind::Stdio),
        (false, true) if entry.is_spelled("url", "httpUrl") => Some(TransportKind::Http),
        (false, true) => Some(TransportKind::HttpOrSse),
        (false, false) if has("openapi") => Some(OPENAPI),
        (false, false) => {
            entry.refuse("has neither a command nor a url", advice(entry));
            None
        }
        (true, true) => {
            let advice = "add \"type\", or remove one of them";
            entry.refuse("has both a command and a url", advice);
            None
        }
    }
}

fn spelled(given: &str) -> Option<TransportKind> {
    let letters: String = given.chars().filter(|c| !"-_ +.".contains(*c)).collect();
    let letters = letters.to_lowercase();
    SPELLINGS.iter().find(|(spelling, _)| *spelling == letters).map(|(_, kind)| *kind)
}

/// What is probably wrong with an entry that says neither what to run nor where it is.
fn advice(entry: &Section<'_>) -> String {
    let Some(object) = entry.object else { return String::new() };
    if server_like::holds_servers(object) {
        return "its own entries look like servers: move them one level up".to_owned();
    }
    let names = object.properties.iter().map(|property| property.name.as_str());
    // One that is there is empty.
    let names = names.filter(|name| !["command", "url"].contains(name));
    let misspelt = names.filter_map(|name| {
        let meant = crate::config::reader::words::nearest::nearest(name, &["command", "url"])?;
        Some(format!("did you mean {meant:?} by {}?", quote(name)))
    });
    misspelt.into_iter().next().unwrap_or_else(|| "add one of the two".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_known_in_the_spellings_of_clients() {
        for (given, expect) in [
            ("stdio", Some(TransportKind::Stdio)),
            ("STDIO", Some(TransportKind::Stdio)),
            ("local", Some(TransportKind::Stdio)),
            ("http", Some(TransportKind::Http)),
            ("streamable_http", Some(TransportKind::Http)),
            ("streamableHttp", Some(TransportKind::Http)),
            ("Streamable HTTP", Some(TransportKind::Http)),
            ("http-stream", Some(TransportKind::Http)),
            ("SSE", Some(TransportKind::Sse)),
            ("http+sse", Some(TransportKind::Sse)),
            ("remote", Some(TransportKind::HttpOrSse)),
            ("OpenAPI", Some(OPENAPI)),
            ("built-in", Some(BUILTIN)),
            ("websocket", None),
            ("", None),
        ] {
            assert_eq!(spelled(given), expect, "{given}");
        }
    }
}
