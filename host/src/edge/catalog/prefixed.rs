//! Tools and prompts that a client of one server's URL names with the server's name in front, as it
//! sees them where several servers are shown together.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::edge::config::Member;
use crate::edge::session::client_session::Session;
use crate::edge::worker::Worker;
use crate::model::{DEFAULT_SEPARATOR, Scope, ServerName};

use super::merge::{Asked, ScopeCatalog};
use super::part::Owner;

/// What stands before every name.
static NAME: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"name\""));

/// Whether a message may name something with the server's name in front. Cheap, since every message
/// to a server that is shown whole is asked about; wrong only towards true.
#[must_use]
pub fn may_be_prefixed(message: &[u8], server: &ServerName, separator: &str) -> bool {
    let server = server.as_str().as_bytes();
    let separators = [separator.as_bytes(), DEFAULT_SEPARATOR.as_bytes()];
    NAME.find_iter(message).any(|at| {
        let value = message.get(at + NAME.needle().len()..).unwrap_or_default().trim_ascii_start();
        let Some(value) = value.strip_prefix(b":") else { return false };
        let Some(value) = value.trim_ascii_start().strip_prefix(b"\"") else { return false };
        match value.strip_prefix(server) {
            Some(rest) => separators.iter().any(|separator| rest.starts_with(separator)),
            None => may_be_escaped(value, server),
        }
    })
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
        let Scope::Server(server) = scope else { return None };
        if !matches!(asked, Asked::Tool | Asked::Prompt) {
            return None;
        }
        let prefixes = Member::whole(server.clone()).prefixes(&self.edge.config.separator);
        prefixes.stripped(name).next()?;
        let offered = self.scope_catalog(scope, session.client_set()).await;
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
            ("a", r#"{"name":"x","arguments":{"other":"a-x"}}"#, false),
            ("a", r#"{"name":"\u0061-x"}"#, false),
            ("日本", r#"{"name":"日本-x"}"#, true),
            ("日本", r#"{"name":"\u65e5\u672c-x"}"#, true),
            ("日本", r#"{"name":"x"}"#, false),
        ] {
            assert_eq!(may(server, params), expect, "{server} {params}");
        }
        assert!(!may_be_prefixed(b"{\"name\"", &ServerName::parse("a").unwrap(), "-"));
    }
}
