//! Which transport and scope a path stands for.

use crate::model::{Scope, ServerName};
use crate::net::percent_decoded;

use super::config::{EdgeConfig, Group, Member};
use super::refusal::Refusal;
use super::worker::{Edge, Worker};

/// Which of the client's transports a path belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entrance {
    /// `/mcp…`
    Streamable,
    /// `/sse…`: the stream that an HTTP+SSE client reads.
    EventStream,
    /// `/messages`: where that client posts.
    Messages,
}

impl Entrance {
    #[must_use]
    pub fn of(path: &str) -> Option<Self> {
        if path == "/messages" {
            return Some(Self::Messages);
        }
        let below =
            |root| path.strip_prefix(root).is_some_and(|r| r.is_empty() || r.starts_with('/'));
        if below("/mcp") {
            return Some(Self::Streamable);
        }
        below("/sse").then_some(Self::EventStream)
    }
}

/// The scope of a path below `/mcp` or `/sse`. The servers behind a group or `/mcp` are
/// looked up for each request, since they come and go with their nodes.
///
/// After a restart of the gateway, nodes may not have registered again yet. An unknown
/// server is then waited for if nodes are expected to return, or if the request names a session.
pub async fn scope(worker: &Worker, path: &str, has_session: bool) -> Result<Scope, Refusal> {
    let config = &worker.edge.config;
    let Some(name) = name_in(path)? else {
        return if config.global_route {
            Ok(Scope::All)
        } else {
            Err(Refusal::UnknownPath(
                "the path must name a server or group (systemConfig.routing.enableGlobalRoute)"
                    .into(),
            ))
        };
    };
    if let Some(group) = group(config, &name) {
        return Ok(Scope::Group(group.name.clone()));
    }
    let unknown = || Refusal::UnknownScope(name.clone());
    let server = ServerName::parse(&name).map_err(|_| unknown())?;
    let cold_start = &worker.edge.cold_start;
    let may_return = cold_start.expects() || (has_session && cold_start.is_under_way());
    if !knows(worker, &server) && may_return {
        cold_start.until(|| knows(worker, &server).then_some(())).await;
    }
    if knows(worker, &server) { Ok(Scope::Server(server)) } else { Err(unknown()) }
}

/// The members of an aggregate scope, in the order of lists.
pub fn members(worker: &Worker, scope: &Scope) -> Vec<Member> {
    let config = &worker.edge.config;
    match scope {
        Scope::Server(server) => vec![Member::whole(server.clone())],
        Scope::Group(name) => config
            .groups
            .iter()
            .find(|g| g.name == *name)
            .map(|g| g.members.clone())
            .unwrap_or_default(),
        Scope::All => {
            let topology = worker.edge.topology.load();
            let known = topology.servers();
            let own = config.order.iter().filter(|server| known.contains(server));
            let others = known.iter().copied().filter(|server| !config.order.contains(server));
            own.chain(others).cloned().map(Member::whole).collect()
        }
    }
}

/// The server whose bytes pass unchanged, if the scope is one server that is shown whole.
/// A server with a selection is an aggregate of one, so that what a node's file hides is hidden.
pub fn pass_through_server<'a>(edge: &Edge, scope: &'a Scope) -> Option<&'a ServerName> {
    match scope {
        Scope::Server(server) => edge.topology.load().selection(server).is_none().then_some(server),
        Scope::All | Scope::Group(_) => None,
    }
}

/// Whether a scope that a path had before still exists: servers go with their nodes.
pub fn is_known(worker: &Worker, scope: &Scope) -> bool {
    match scope {
        Scope::Server(server) => knows(worker, server),
        Scope::All | Scope::Group(_) => true,
    }
}

fn knows(worker: &Worker, server: &ServerName) -> bool {
    worker.edge.topology.load().knows(server)
}

fn group<'a>(config: &'a EdgeConfig, name: &str) -> Option<&'a Group> {
    let by_name = config.groups.iter().find(|group| group.by_name && group.name.as_str() == name);
    by_name.or_else(|| config.groups.iter().find(|group| group.id.as_deref() == Some(name)))
}

/// The one segment after `/mcp` or `/sse`, if there is one.
fn name_in(path: &str) -> Result<Option<String>, Refusal> {
    let below = path.strip_prefix("/mcp").or_else(|| path.strip_prefix("/sse"));
    let rest = below.unwrap_or(path).trim_matches('/');
    if rest.is_empty() {
        return Ok(None);
    }
    let unknown = || Refusal::UnknownScope(rest.chars().take(200).collect());
    let name = percent_decoded(rest).ok_or_else(unknown)?;
    if rest.contains('/') { Err(unknown()) } else { Ok(Some(name)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_belongs_to_one_transport() {
        for (path, expect) in [
            ("/mcp", Some(Entrance::Streamable)),
            ("/mcp/sse", Some(Entrance::Streamable)),
            ("/sse", Some(Entrance::EventStream)),
            ("/sse/messages", Some(Entrance::EventStream)),
            ("/messages", Some(Entrance::Messages)),
            ("/messages/a", None),
            ("/ssex", None),
            ("/", None),
        ] {
            assert_eq!(Entrance::of(path), expect, "{path}");
        }
    }

    #[test]
    fn the_name_after_mcp_is_one_segment() {
        assert_eq!(name_in("/mcp").unwrap(), None);
        assert_eq!(name_in("/mcp/").unwrap(), None);
        assert_eq!(name_in("/sse").unwrap(), None);
        assert_eq!(name_in("/sse/mcp").unwrap().as_deref(), Some("mcp"));
        assert_eq!(name_in("/mcp/a%20b").unwrap().as_deref(), Some("a b"));
        assert!(name_in("/mcp/a/b").is_err());
        assert!(name_in("/mcp/%ff").is_err());
    }
}
