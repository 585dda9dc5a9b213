//! Which transport and scope a path stands for.

use crate::model::{Principal, Scope, ServerName};
use crate::net::percent_decoded;

use super::config::{EdgeConfig, Group, KeyView, Member};
use super::connection::not_here;
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
///
/// A restricted key finds what it opens. Anything else does not exist for it, at once: whether it
/// was waited for would tell.
pub async fn scope(
    worker: &Worker,
    path: &str,
    has_session: bool,
    view: Option<&KeyView>,
) -> Result<Scope, Refusal> {
    let config = &worker.edge.config;
    let Some(name) = name_in(path)? else {
        return if config.global_route {
            Ok(view.map_or(Scope::All, |view| Scope::Key(view.principal.clone())))
        } else {
            Err(Refusal::UnknownPath(
                "the path must name a server or group (systemConfig.routing.enableGlobalRoute)"
                    .into(),
            ))
        };
    };
    if let Some(text) = not_here::name(&name).filter(|_| group(config, &name).is_none()) {
        return Err(Refusal::UnknownPath(text));
    }
    let unknown = || Refusal::UnknownScope(name.clone());
    if let Some(group) = group(config, &name) {
        let is_open = view.is_none_or(|view| view.groups.contains(&group.name));
        return if is_open { Ok(Scope::Group(group.name.clone())) } else { Err(unknown()) };
    }
    let server = ServerName::parse(&name).map_err(|_| unknown())?;
    if view.is_some_and(|view| !view.servers.contains(&server)) {
        return Err(unknown());
    }
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
        Scope::Key(holder) => {
            view_of(config, holder).map(|view| view.members.clone()).unwrap_or_default()
        }
        Scope::All => {
            let topology = worker.edge.topology.load();
            let known = topology.servers();
            let own = config.order.iter().filter(|server| known.contains(server));
            let others = known.iter().copied().filter(|server| !config.order.contains(server));
            own.chain(others).cloned().map(Member::whole).collect()
        }
    }
}

/// The resources that the scope's group or key names of a server: all if it names none. `None` if the
/// scope does not have the server.
#[allow(clippy::option_option)]
pub fn named_resources<'a>(
    worker: &'a Worker,
    scope: &Scope,
    server: &ServerName,
) -> Option<Option<&'a [String]>> {
    let config = &worker.edge.config;
    let members = match scope {
        Scope::All | Scope::Server(_) => return Some(None),
        Scope::Group(name) => &config.groups.iter().find(|group| group.name == *name)?.members,
        Scope::Key(holder) => &view_of(config, holder)?.members,
    };
    let member = members.iter().find(|member| member.server == *server)?;
    Some(member.resources.as_deref())
}

/// What the key of this principal opens, if that is not everything.
fn view_of<'a>(config: &'a EdgeConfig, holder: &Principal) -> Option<&'a KeyView> {
    let mut views = config.keys.iter().filter_map(|key| key.view.as_deref());
    views.find(|view| view.principal == *holder)
}

/// Whether a server belongs to the scope. A session may have had one that does not any more: its
/// group or key has been narrowed since.
pub fn has(worker: &Worker, scope: &Scope, server: &ServerName) -> bool {
    match scope {
        Scope::All => true,
        Scope::Server(own) => own == server,
        Scope::Group(_) | Scope::Key(_) => {
            members(worker, scope).iter().any(|member| member.server == *server)
        }
    }
}

/// The server whose bytes pass unchanged, if the scope is one server that is shown whole.
/// A server with a selection is an aggregate of one, so that what a node's file hides is hidden.
pub fn pass_through_server<'a>(edge: &Edge, scope: &'a Scope) -> Option<&'a ServerName> {
    match scope {
        Scope::Server(server) => edge.topology.load().selection(server).is_none().then_some(server),
        Scope::All | Scope::Key(_) | Scope::Group(_) => None,
    }
}

/// Whether the settings of now shut a principal out of a scope that was open to it under those
/// before. Servers come and go with their nodes: only one of this process's own file is gone for good.
pub fn is_shut_out(before: &Edge, now: &Edge, scope: &Scope, principal: &Principal) -> bool {
    let config = &now.config;
    let is_let_in = if config.keys.is_empty() {
        *principal == Principal::anonymous() && opens(config, scope, None)
    } else {
        let mut own = config.keys.iter().filter(|key| key.principal == *principal);
        own.any(|key| opens(config, scope, key.view.as_deref()))
    };
    config.closed || !is_let_in || is_gone(before, now, scope)
}

/// Whether a key with this view opens the scope; a server's nodes are not asked.
fn opens(config: &EdgeConfig, scope: &Scope, view: Option<&KeyView>) -> bool {
    match scope {
        Scope::All => config.global_route && view.is_none(),
        Scope::Key(holder) => {
            config.global_route && view.is_some_and(|view| view.principal == *holder)
        }
        Scope::Group(name) => {
            config.groups.iter().any(|group| group.name == *name)
                && view.is_none_or(|view| view.groups.contains(name))
        }
        Scope::Server(server) => view.is_none_or(|view| view.servers.contains(server)),
    }
}

/// Whether a server was taken out of the file, and nobody else runs it.
fn is_gone(before: &Edge, now: &Edge, scope: &Scope) -> bool {
    let Scope::Server(server) = scope else { return false };
    let is_own = |edge: &Edge| edge.config.order.contains(server);
    is_own(before) && !is_own(now) && !now.topology.load().knows(server)
}

/// Whether a scope that a path had before still exists: servers go with their nodes.
pub fn is_known(worker: &Worker, scope: &Scope) -> bool {
    match scope {
        Scope::Server(server) => knows(worker, server),
        Scope::All | Scope::Key(_) | Scope::Group(_) => true,
    }
}

fn knows(worker: &Worker, server: &ServerName) -> bool {
    worker.edge.topology.load().knows(server)
}

fn group<'a>(config: &'a EdgeConfig, name: &str) -> Option<&'a Group> {
    let by_name = config.groups.iter().find(|group| group.by_name && group.name.as_str() == name);
    by_name.or_else(|| config.groups.iter().find(|group| group.id.as_deref() == Some(name)))
}

/// What stands behind `/mcp` or `/sse`, if anything does. A `/` in a server's name may be escaped
/// or not: some proxies undo the escape, others refuse it.
fn name_in(path: &str) -> Result<Option<String>, Refusal> {
    let below = path.strip_prefix("/mcp").or_else(|| path.strip_prefix("/sse"));
    let rest = below.unwrap_or(path).trim_matches('/');
    if rest.is_empty() {
        return Ok(None);
    }
    let unknown = || Refusal::UnknownScope(rest.chars().take(200).collect());
    percent_decoded(rest).map(Some).ok_or_else(unknown)
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
    fn the_name_after_mcp_may_have_an_escaped_or_a_plain_slash() {
        assert_eq!(name_in("/mcp").unwrap(), None);
        assert_eq!(name_in("/mcp/").unwrap(), None);
        assert_eq!(name_in("/sse").unwrap(), None);
        assert_eq!(name_in("/sse/mcp").unwrap().as_deref(), Some("mcp"));
        assert_eq!(name_in("/mcp/a%20b").unwrap().as_deref(), Some("a b"));
        for path in ["/mcp/a/b", "/mcp/a%2Fb", "/mcp/a%2fb/", "/sse/a/b"] {
            assert_eq!(name_in(path).unwrap().as_deref(), Some("a/b"), "{path}");
        }
        assert!(name_in("/mcp/%ff").is_err());
    }
}
