//! Tools and prompts that a client of one server's URL names with the server's name in front, as it
//! sees them where several servers are shown together.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::edge::config::Member;
use crate::edge::session::client_session::Session;
use crate::edge::worker::Worker;
use crate::model::{DEFAULT_SEPARATOR, Scope, ServerName, safe_prefix};
use crate::protocol::glance::params_of_usual;

use super::merge::{Asked, ScopeCatalog};
use super::part::Owner;

/// What stands before the parameters.
static PARAMS: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"params\""));
/// What stands before every name.
static NAME: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"name\""));

/// Whether a message may name something with the server's name in front. Cheap, since every message
/// to a server that is shown whole is asked about; wrong towards false only for a message with another
/// member `params` before its own.
#[must_use]
pub fn may_be_prefixed(message: &[u8], server: &ServerName, separator: &str) -> bool {
    let (name, server) = (server.as_str(), server.as_str().as_bytes());
    let separators = [separator.as_bytes(), DEFAULT_SEPARATOR.as_bytes()];
    let is_separated = |rest: &[u8]| separators.iter().any(|separator| rest.starts_with(separator));
    let is_prefixed = |value: &[u8]| match value.strip_prefix(server) {
        Some(rest) => is_separated(rest),
        None => {
            let safe = || value.strip_prefix(safe_prefix(name).as_bytes());
            let is_safe = server.contains(&b'/') && safe().is_some_and(is_separated);
            is_safe || may_be_escaped(value, server)
        }
    };
    // Clients write the name first. Then it is not searched for in all that follows.
    let found = || value_at(message, PARAMS.find(message)? + PARAMS.needle().len());
    if let Some(params) = params_of_usual(message).or_else(found)
        && let Some(first) = params.strip_prefix(b"{").map(<[u8]>::trim_ascii_start)
        && first.starts_with(NAME.needle())
        && let Some(value) = text_at(first, NAME.needle().len())
    {
        return is_prefixed(value);
    }
    let mut names = NAME.find_iter(message);
    names.any(|at| text_at(message, at + NAME.needle().len()).is_some_and(is_prefixed))
}

/// The value of the member whose name ends here, and what follows it.
fn value_at(text: &[u8], end: usize) -> Option<&[u8]> {
    let value = text.get(end..)?.trim_ascii_start().strip_prefix(b":")?;
    Some(value.trim_ascii_start())
}

/// The same, within the quotes of a text.
fn text_at(text: &[u8], end: usize) -> Option<&[u8]> {
    value_at(text, end)?.strip_prefix(b"\"")
}

/// Whether a JSON text may begin with a server's name that is written with escapes: some writers
/// escape all that is not ASCII, others slashes.
fn may_be_escaped(value: &[u8], server: &[u8]) -> bool {
    /// The longest escape of one byte.
    const ESCAPE: usize = 6;
    let is_plain =
        server.iter().all(|byte| byte.is_ascii() && !matches!(byte, b'"' | b'\\' | b'/'));
    let beginning = value.get(..ESCAPE * server.len()).unwrap_or(value);
    !is_plain && beginning.contains(&b'\\')
}

impl Worker {
    /// The owner of what a client of a server's URL names with the server's name in front. `None` if
    /// the scope is not that of one server, if the server has an entry of that very name, or none
    /// without the prefix.
    pub(in crate::edge) async fn prefixed_owner(
        &self,
        scope: &Scope,
        session: &Session,
        asked: Asked,
        name: &str,
    ) -> Option<Owner> {
        let Scope::Server(server) = scope.of_url() else { return None };
        if !matches!(asked, Asked::Tool | Asked::Prompt) {
            return None;
        }
        let prefixes = Member::whole(server.clone()).prefixes(&self.edge.config.separator);
        prefixes.stripped(name).next()?;
        let offered = self.scope_catalog(scope, self.set_of(session)).await;
        if offered.owner(asked, name).is_some() {
            return None;
        }
        let of_session = self.own_scope_catalog(scope, session).await;
        let catalogs: Vec<&ScopeCatalog> =
            std::iter::once(&*offered).chain(of_session.as_ref()).collect();
        let owner = |name: &str| catalogs.iter().find_map(|catalog| catalog.owner(asked, name));
        if owner(name).is_some() {
            return None;
        }
        prefixes.stripped(name).find_map(owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_with_the_servers_name_in_front_are_looked_at() {
        let may = |server: &str, params: &str| {
            let message = format!(r#"{{"id":1,"method":"tools/call","params":{params}}}"#);
            may_be_prefixed(message.as_bytes(), &ServerName::parse(server).unwrap(), "::")
        };
        for (server, params, expect) in [
            ("a", r#"{"name":"a-x"}"#, true),
            ("a", r#"{"name":"a::x"}"#, true),
            ("a", r#"{"name":"a_x"}"#, false),
            ("a", r#"{"arguments":{"name":1,"a-x":"name"},"name" : "a-x"}"#, true),
            ("a", r#"{"name":"x","arguments":{}}"#, false),
            ("a", r#"{ "name" : "a-x","arguments":{}}"#, true),
            ("a", r#"{"_meta":{},"name":"a-x"}"#, true),
            ("a", r#"{"name":"x","arguments":{"other":"a-x"}}"#, false),
            ("a", r#"{"name":"\u0061-x"}"#, false),
            ("日本", r#"{"name":"日本-x"}"#, true),
            ("日本", r#"{"name":"\u65e5\u672c-x"}"#, true),
            ("日本", r#"{"name":"x"}"#, false),
            ("a.b/c", r#"{"name":"a_b_c-x"}"#, true),
            ("a.b/c", r#"{"name":"a_b_x"}"#, false),
        ] {
            assert_eq!(may(server, params), expect, "{server} {params}");
        }
        assert!(!may_be_prefixed(b"{\"name\"", &ServerName::parse("a").unwrap(), "-"));
    }
}
