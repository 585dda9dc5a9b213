//! Which transport and scope a path stands for.

use std::sync::Arc;

use crate::model::{
    EntryKind, JudgedScope, PolicyRuling, Principal, Rights, Scope, ServerName, ServerRights,
};
use crate::net::percent_decoded;

use super::access::certified;
use super::access::identity::CallerIdentity;
use super::config::{CallerReach, EdgeConfig, Group, KeyView, Member};
use super::connection::client_certificates::is_certified;
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
    /// All entrances.
    pub const ALL: [Self; 3] = [Self::Streamable, Self::EventStream, Self::Messages];

    /// Its methods and paths, as the list of routes shows them.
    #[must_use]
    pub fn routes(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Streamable => &[
                ("POST", "/mcp"),
                ("GET", "/mcp"),
                ("DELETE", "/mcp"),
                ("POST", "/mcp/{name}"),
                ("GET", "/mcp/{name}"),
                ("DELETE", "/mcp/{name}"),
            ],
            Self::EventStream => &[("GET", "/sse"), ("GET", "/sse/{name}")],
            Self::Messages => &[("POST", "/messages")],
        }
    }

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
/// A caller finds what its key opens and the operator's rules allow. Anything else does not exist for
/// it, at once: whether it was waited for would tell.
pub async fn scope(
    worker: &Worker,
    path: &str,
    has_session: bool,
    reach: CallerReach<'_>,
) -> Result<Scope, Refusal> {
    let config = &worker.edge.config;
    let Some(name) = name_in(path)? else {
        return if config.global_route {
            let key = |view: &Arc<KeyView>| Scope::Key(view.principal.clone());
            Ok(judged(&worker.edge, reach.view.map_or(Scope::All, key), reach.rights))
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
        let has_any =
            |rights: &Arc<Rights>| group.members.iter().any(|member| rights.has(&member.server));
        let is_open = reach.view.is_none_or(|view| view.groups.contains(&group.name))
            && reach.rights.is_none_or(has_any);
        let scope = Scope::Group(group.name.clone());
        return if is_open {
            Ok(judged(&worker.edge, scope, reach.rights))
        } else {
            Err(unknown())
        };
    }
    let server = ServerName::parse(&name).map_err(|_| unknown())?;
    let is_closed = reach.view.is_some_and(|view| !view.servers.contains(&server))
        || reach.rights.is_some_and(|rights| !rights.has(&server));
    if is_closed {
        return Err(unknown());
    }
    let cold_start = &worker.edge.cold_start;
    let may_return = cold_start.expects() || (has_session && cold_start.is_under_way());
    if !knows(worker, &server) && may_return {
        cold_start.until(|| knows(worker, &server).then_some(())).await;
    }
    if !knows(worker, &server) {
        return Err(unknown());
    }
    Ok(judged(&worker.edge, Scope::Server(server), reach.rights))
}

/// Whether a scope is what stands behind one of these paths; or behind any, if there are none.
pub fn is_behind(config: &EdgeConfig, paths: &[String], scope: &Scope) -> bool {
    let leads_there = |path: &String| match name_in(path) {
        Ok(None) => matches!(scope.of_url(), Scope::All | Scope::Key(_)),
        Ok(Some(name)) => match (group(config, &name), scope.of_url()) {
            (Some(group), Scope::Group(own)) => group.name == *own,
            (None, Scope::Server(own)) => own.as_str() == name,
            _ => false,
        },
        Err(_) => false,
    };
    paths.is_empty() || paths.iter().any(leads_there)
}

/// The rule that hides what stands behind a path from a client with these rights. `None` if nothing does,
/// or it is not hidden.
pub fn hiding_rule(edge: &Edge, path: &str, rights: &Rights) -> Option<PolicyRuling> {
    let name = name_in(path).ok()??;
    let server = match group(&edge.config, &name) {
        // A group is hidden if all of its members are: the first stands for them.
        Some(group) => group.members.first()?.server.clone(),
        None => ServerName::parse(&name).ok().filter(|of| edge.topology.load().knows(of))?,
    };
    let ruling = rights.ruling(&server, None);
    (!matches!(ruling, PolicyRuling::Allowed(_))).then_some(ruling)
}

/// The scope for a caller with these rights. Where they leave all of it, it is the scope that others
/// have too.
pub fn judged(edge: &Edge, of: Scope, rights: Option<&Arc<Rights>>) -> Scope {
    let is_whole = |rights: &Arc<Rights>| {
        let mut members = match &of {
            // Servers come and go.
            Scope::All => return rights.are_all(),
            Scope::Server(server) => return matches!(rights.of(server), ServerRights::Whole),
            of => members_in(edge, of).into_iter(),
        };
        members.all(|member| matches!(rights.of(&member.server), ServerRights::Whole))
    };
    match rights.filter(|rights| !is_whole(rights)).cloned() {
        None => of,
        rights => Scope::Judged(Arc::new(JudgedScope { of, rights })),
    }
}

/// A member as the rules leave it; `None` if they leave nothing of it.
fn left(member: Member, rights: &Rights) -> Option<Member> {
    match rights.of(&member.server) {
        ServerRights::Nothing => None,
        ServerRights::Whole => Some(member),
        ServerRights::Part(part) => Some(Member { rights: Some(part), ..member }),
    }
}

/// The members of an aggregate scope, in the order of lists.
pub fn members(worker: &Worker, scope: &Scope) -> Vec<Member> {
    members_in(&worker.edge, scope)
}

/// The same, without a worker.
pub fn members_in(edge: &Edge, scope: &Scope) -> Vec<Member> {
    let config = &edge.config;
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
            let topology = edge.topology.load();
            let known = topology.servers();
            let own = config.order.iter().filter(|server| known.contains(server));
            let others = known.iter().copied().filter(|server| !config.order.contains(server));
            own.chain(others).cloned().map(Member::whole).collect()
        }
        Scope::Judged(judged) => {
            let members = members_in(edge, &judged.of);
            let Some(rights) = &judged.rights else { return members };
            members.into_iter().filter_map(|member| left(member, rights)).collect()
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
        Scope::Judged(judged) => {
            let of_url = named_resources(worker, &judged.of, server)?;
            return match judged.rights.as_ref().map(|rights| rights.of(server)) {
                None | Some(ServerRights::Whole) => Some(of_url),
                Some(ServerRights::Nothing) => None,
                Some(ServerRights::Part(part)) if part.allow_all(EntryKind::Resource) => {
                    Some(of_url)
                }
                // Which are allowed is known with the lists.
                Some(ServerRights::Part(_)) => Some(Some(&[])),
            };
        }
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
        Scope::Judged(judged) => {
            has(worker, &judged.of, server)
                && judged.rights.as_ref().is_none_or(|rights| rights.has(server))
        }
    }
}

/// The server whose bytes pass unchanged, if the scope is one server that is shown whole.
/// A server with a selection is an aggregate of one, so that what a node's file hides is hidden. So is one
/// at which users log in: its session begins before anybody has.
pub fn pass_through_server<'a>(edge: &Edge, scope: &'a Scope) -> Option<&'a ServerName> {
    match scope {
        Scope::Server(server) if edge.config.logins.contains_key(server) => None,
        Scope::Server(server) => edge.topology.load().selection(server).is_none().then_some(server),
        Scope::All | Scope::Key(_) | Scope::Group(_) | Scope::Judged(_) => None,
    }
}

/// Whether the settings of now shut a principal out of a scope that was open to it under those
/// before. Servers come and go with their nodes: only one of this process's own file is gone for good.
///
/// So does a change of what the rules leave it of the scope: what goes on by the rules of before would
/// show what they do not allow any more. Its client comes back, and finds what it may use now.
pub fn is_shut_out(before: &Edge, now: &Edge, scope: &Scope, client: Client<'_>) -> bool {
    now.config.closed || !is_let_in(now, scope, client) || is_gone(before, now, scope)
}

/// Whose requests and streams are judged: its principal, and what was decided when it came in.
pub type Client<'a> = (&'a Principal, Option<&'a Arc<CallerIdentity>>);

fn is_let_in(now: &Edge, scope: &Scope, (principal, identity): Client<'_>) -> bool {
    let (config, of_url) = (&now.config, scope.of_url());
    if let Some(grounds) = identity.and_then(|identity| identity.token.as_ref()) {
        let issuers = config.issuers.as_ref();
        let renewed = issuers.and_then(|issuers| issuers.again(principal, grounds));
        return renewed
            .is_some_and(|it| opens(config, of_url, None) && is_left(now, scope, Some(&it)));
    }
    if config.wants_certificate && is_certified(principal) {
        let identity = certified::identity(config, principal);
        return opens(config, of_url, None) && is_left(now, scope, identity.as_deref());
    }
    if config.keys.is_empty() {
        return *principal == Principal::anonymous()
            && !config.wants_token
            && !config.wants_certificate
            && opens(config, of_url, None)
            && is_left(now, scope, config.anyone.as_deref());
    }
    let mut own = config.keys.iter().filter(|key| key.principal == *principal);
    own.any(|key| {
        opens(config, of_url, key.view.as_deref()) && is_left(now, scope, key.identity.as_deref())
    })
}

/// Whether the scope is still what the rules leave to a client of its URL.
fn is_left(now: &Edge, scope: &Scope, identity: Option<&CallerIdentity>) -> bool {
    let rights = identity.and_then(|identity| identity.rights.as_ref());
    if rights.is_none() {
        return !matches!(scope, Scope::Judged(_));
    }
    judged(now, scope.of_url().clone(), rights) == *scope
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
        // It is the scope of a URL.
        Scope::Judged(judged) => opens(config, &judged.of, view),
    }
}

/// Whether a server was taken out of the file, and nobody else runs it.
fn is_gone(before: &Edge, now: &Edge, scope: &Scope) -> bool {
    let Scope::Server(server) = scope.of_url() else { return false };
    let is_own = |edge: &Edge| edge.config.order.contains(server);
    is_own(before) && !is_own(now) && !now.topology.load().knows(server)
}

/// Whether a scope that a path had before still exists: servers go with their nodes.
pub fn is_known(worker: &Worker, scope: &Scope) -> bool {
    match scope.of_url() {
        Scope::Server(server) => knows(worker, server),
        Scope::All | Scope::Key(_) | Scope::Group(_) | Scope::Judged(_) => true,
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
    fn the_list_of_routes_has_every_entrance() {
        for entrance in Entrance::ALL {
            for (_, path) in entrance.routes() {
                assert_eq!(Entrance::of(path), Some(entrance), "{path}");
            }
        }
    }

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
