//! Names that carry their server's name: ids of servers' requests, progress tokens, tasks and
//! events. An answer finds its server by them on any thread, connection or gateway, and nothing has
//! to be remembered for it.

use crate::model::ServerName;
use crate::net::{percent_decoded, percent_encoded};
use crate::protocol::splice;

/// A server's request id or progress token, as the client sees it: a JSON string of the server's
/// own JSON, `@` and the server's name.
#[must_use]
pub fn id(server: &ServerName, raw: &str) -> String {
    splice::quoted(&format!("{raw}@{server}"))
}

/// The server of such an id or token, and the server's own JSON for it. `None` for any other value.
#[must_use]
pub fn of_id(raw: &str) -> Option<(ServerName, String)> {
    let text: String = serde_json::from_str(raw).ok()?;
    let end = own_length(&text)?;
    let (own, server) = text.split_at_checked(end)?;
    let id: serde_json::Value = serde_json::from_str(own).ok()?;
    // White space around it would go on into the message.
    if !(id.is_string() || id.is_number()) || own.trim() != own {
        return None;
    }
    let server = ServerName::parse(server.strip_prefix('@')?).ok()?;
    Some((server, own.to_owned()))
}

/// The length of the server's own JSON: its string with the quotes, or all before the `@`.
fn own_length(text: &str) -> Option<usize> {
    let Some(string) = text.strip_prefix('"') else { return text.find('@') };
    let mut is_escaped = false;
    let end = string.bytes().position(|byte| {
        let ends = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        ends
    })?;
    Some(end + 2)
}

/// An event id of a server's stream, as the client sees it.
#[must_use]
pub fn event(server: &ServerName, id: &str) -> String {
    format!("{id}@{}", percent_encoded(server.as_str()))
}

/// The same with a mark; see `event_mark`.
#[must_use]
pub fn marked_event(server: &ServerName, id: &str, mark: Option<&str>) -> String {
    let mark = mark.map(|mark| format!("@{mark}")).unwrap_or_default();
    format!("{}{mark}", event(server, id))
}

/// The server of such an event id, and the runner's own id, which never has an `@`. The server's
/// name is percent-encoded, since the client sends the id back in a header.
#[must_use]
pub fn of_event(id: &str) -> Option<(ServerName, &str)> {
    let (own, rest) = id.split_once('@')?;
    let server = rest.split_once('@').map_or(rest, |(server, _)| server);
    Some((ServerName::parse(&percent_decoded(server)?).ok()?, own))
}

/// The mark of such an event id, if it has one.
#[must_use]
pub fn mark_of(id: &str) -> Option<&str> {
    Some(id.split_once('@')?.1.split_once('@')?.1)
}

/// A server's id of a task, as the client sees it.
#[must_use]
pub fn thing(server: &ServerName, name: &str) -> String {
    format!("{server}~{name}")
}

/// The owner of a task among these servers, and its own id for it. Names of servers may have a `~`
/// in them: the longest one that fits counts.
#[must_use]
pub fn of_thing<'a, 'b>(
    servers: impl Iterator<Item = &'a ServerName>,
    text: &'b str,
) -> Option<(&'a ServerName, &'b str)> {
    servers
        .filter_map(|server| Some((server, text.strip_prefix(server.as_str())?.strip_prefix('~')?)))
        .max_by_key(|(server, _)| server.as_str().len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(name: &str) -> ServerName {
        ServerName::parse(name).unwrap()
    }

    #[test]
    fn an_id_comes_back_with_its_type_and_its_server() {
        for raw in ["1", "-7", "\"a\"", "\"1\"", "\"a@b\\\"@c\"", "12345678901234567890123"] {
            for name in ["a", "x@y", "two words"] {
                let id = id(&server(name), raw);
                assert_eq!(of_id(&id), Some((server(name), raw.to_owned())), "{id}");
            }
        }
        for raw in
            ["1", "\"x\"", "\"1\"", "\"{}@a\"", "\"1@\"", "\"1 2@a\"", "\"1\\n@a\"", "null", "x"]
        {
            assert_eq!(of_id(raw), None, "{raw}");
        }
    }

    #[test]
    fn a_thing_belongs_to_the_server_with_the_longest_name() {
        let servers = [server("a"), server("a~b"), server("c")];
        let of = |text| of_thing(servers.iter(), text).map(|(s, name)| (s.as_str(), name));
        assert_eq!(of("a~b~1"), Some(("a~b", "1")));
        assert_eq!(of("a~1"), Some(("a", "1")));
        assert_eq!(of("d~1"), None);
        assert_eq!(of_thing(servers.iter(), &thing(&servers[0], "x")).unwrap().1, "x");
    }

    #[test]
    fn an_event_id_comes_back() {
        for name in ["x@y", "größe", "a b%41"] {
            let id = event(&server(name), "8f-1-2");
            assert!(id.bytes().all(|byte| byte.is_ascii_graphic()), "{id}");
            assert_eq!(of_event(&id), Some((server(name), "8f-1-2")));
            assert_eq!(mark_of(&id), None);
            let marked = marked_event(&server(name), "8f-1-2", Some("0a1b"));
            assert_eq!(of_event(&marked), Some((server(name), "8f-1-2")));
            assert_eq!(mark_of(&marked), Some("0a1b"));
            assert_eq!(marked_event(&server(name), "8f-1-2", None), id);
        }
        assert_eq!(of_event("8f-1-2"), None);
    }
}
