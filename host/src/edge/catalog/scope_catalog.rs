//! What a scope offers, made of the catalogs of its servers.
//!
//! A list request waits for the first fetches, but for at most [`PATIENCE`], and only once for
//! each server: a late one appears in the next list.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::edge::config::Member;
use crate::edge::logins::log_in_tool;
use crate::edge::scope;
use crate::edge::session::client_session::Session;
use crate::edge::worker::Worker;
use crate::model::{Scope, ServerName, Topology};
use crate::protocol::catalog::Catalog;
use crate::protocol::initialize::{ClientSet, InitializeResult};
use crate::protocol::methods::List;
use crate::protocol::objects::object_only;
use crate::protocol::uri::resource_judge::ResourceJudge;

use super::cache::Catalogs;
use super::merge::ScopeCatalog;
use super::naming::Naming;
use super::part::ServerPart;
use super::uris;

/// A list request waits on while discoveries finish within this time of each other.
const QUIET: Duration = Duration::from_millis(250);
/// The longest wait of a list request, and of a call that names an unknown entry.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest wait for a session's own lists, which its runner has ready or reads within seconds.
const OWN_LISTS_TIMEOUT: Duration = Duration::from_secs(5);

impl Worker {
    /// The client capabilities of a session by which servers choose what to offer it.
    pub(in crate::edge) fn set_of(&self, session: &Session) -> ClientSet {
        let set = session.client_set();
        if !set.has_extensions() {
            return set;
        }
        self.edge.catalogs.extensions.admit(set, &session.params)
    }

    /// What a scope offers to clients with these capabilities, after a wait for first fetches.
    pub(in crate::edge) async fn scope_catalog(
        &self,
        scope: &Scope,
        set: ClientSet,
    ) -> Arc<ScopeCatalog> {
        let members = scope::members(self, scope);
        self.await_first(&members, set).await;
        self.merged(scope, &members, set)
    }

    /// The same, without waiting.
    pub(in crate::edge) fn scope_catalog_now(
        &self,
        scope: &Scope,
        set: ClientSet,
    ) -> Arc<ScopeCatalog> {
        let edge = &self.edge;
        let settled =
            edge.catalogs.settled(&(scope.clone(), set), &edge.topology.load(), edge.revision);
        settled.unwrap_or_else(|| {
            let members = scope::members(self, scope);
            self.fetch_new(&members, set);
            self.merged(scope, &members, set)
        })
    }

    /// The judge of a server's resources by what nodes' files hide of it, if they hide any.
    pub(in crate::edge) fn resource_judge(
        &self,
        server: &ServerName,
        set: ClientSet,
    ) -> Option<Arc<ResourceJudge>> {
        let scope = Scope::Server(server.clone());
        // A server that is shown whole is not fetched for this.
        self.edge.topology.load().selection(server)?;
        let known = self.scope_catalog_now(&scope, set);
        self.judge_in(&scope, server, &known)
    }

    /// The judge of a server's resources for one session. The lists of the node where the session
    /// has the server open count too.
    pub(in crate::edge) fn judge_of_session(
        &self,
        scope: &Scope,
        session: &Session,
        server: &ServerName,
        known: &ScopeCatalog,
    ) -> Option<Arc<ResourceJudge>> {
        let mut judge = self.judge_in(scope, server, known)?;
        if let Some(own) = self.differing_catalog(session, server) {
            let judge = Arc::make_mut(&mut judge);
            for list in [List::Resources, List::Templates] {
                for uri in own.items(list).iter().filter_map(|item| uris::listed(list, item)) {
                    judge.lists(list, &uri);
                }
            }
        }
        Some(judge)
    }

    /// The judge that the scope's catalog has; while the server's lists are unknown, one by what is
    /// hidden and what the group names.
    fn judge_in(
        &self,
        scope: &Scope,
        server: &ServerName,
        known: &ScopeCatalog,
    ) -> Option<Arc<ResourceJudge>> {
        known.uris.judge(server).or_else(|| {
            let named = scope::named_resources(self, scope, server)?;
            let topology = self.edge.topology.load();
            let selection = topology.selection(server).map(|selection| &**selection);
            if named.is_none() && selection.is_none() {
                return None;
            }
            ResourceJudge::unlisted(named, selection).map(Arc::new)
        })
    }

    /// The lists of the node where a session has a server open, if they are not the usual ones.
    fn differing_catalog(&self, session: &Session, server: &ServerName) -> Option<Arc<Catalog>> {
        let record = self.edge.bindings.record(session.id)?;
        let (_, binding) = record.servers.iter().find(|(name, _)| name == server)?;
        let topology = self.edge.topology.load();
        self.edge.catalogs.differing(&topology, &binding.node, server, self.set_of(session))
    }

    /// Looks something up in what the scope offers. While it is not found, looks again whenever a
    /// catalog changes, until every server's catalog is known or [`PATIENCE`] is over.
    pub(in crate::edge) async fn await_silent<T>(
        &self,
        scope: &Scope,
        set: ClientSet,
        look: impl Fn(&ScopeCatalog) -> Option<T>,
    ) -> Option<T> {
        let members = scope::members(self, scope);
        let mut changes = self.edge.catalogs.changes();
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.fetch_new(&members, set);
            // Before the lookup, which then sees every catalog that counts as known.
            let all_known = self.missing(&members, set).is_empty();
            if let Some(found) = look(&self.merged(scope, &members, set)) {
                return Some(found);
            }
            if all_known {
                return None;
            }
            match tokio::time::timeout_at(deadline, changes.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return None,
            }
        }
    }

    /// Whether a server announces a capability. True while that is unknown.
    pub(in crate::edge) fn capability(
        &self,
        server: &ServerName,
        set: ClientSet,
        name: &str,
    ) -> bool {
        self.announces(server, set, name).unwrap_or(true)
    }

    /// Whether a server is known to announce a capability. False while that is unknown.
    pub(in crate::edge) fn is_known_for(
        &self,
        server: &ServerName,
        set: ClientSet,
        name: &str,
    ) -> bool {
        self.announces(server, set, name).unwrap_or(false)
    }

    fn announces(&self, server: &ServerName, set: ClientSet, name: &str) -> Option<bool> {
        let topology = self.edge.topology.load();
        let catalog = self.edge.catalogs.known(&topology, server, set)?;
        InitializeResult::of(catalog.initialize.get().as_bytes()).announces(name)
    }

    /// Whether the server's annotations say that a tool only reads, or that a second call changes
    /// nothing more (2025-11-25, server/tools, "Tool").
    pub(in crate::edge) async fn is_harmless_tool(
        &self,
        server: &ServerName,
        set: ClientSet,
        name: &str,
    ) -> bool {
        #[derive(serde::Deserialize)]
        #[serde(remote = "Self")]
        struct Tool {
            name: String,
            #[serde(default)]
            annotations: Annotations,
        }
        object_only!(Tool);
        #[derive(serde::Deserialize, Default)]
        #[serde(remote = "Self")]
        #[serde(default, rename_all = "camelCase")]
        struct Annotations {
            read_only_hint: bool,
            idempotent_hint: bool,
        }
        object_only!(Annotations);
        // The catalog of a server that only passes through may not have been fetched yet.
        self.scope_catalog(&Scope::Server(server.clone()), set).await;
        let topology = self.edge.topology.load();
        let Some(catalog) = self.edge.catalogs.known(&topology, server, set) else { return false };
        let tools = catalog.tools.iter().filter(|tool| tool.get().contains(name));
        tools
            .filter_map(|tool| serde_json::from_str::<Tool>(tool.get()).ok())
            .find(|tool| tool.name == name)
            .is_some_and(|tool| tool.annotations.read_only_hint || tool.annotations.idempotent_hint)
    }

    async fn await_first(&self, members: &[Member], set: ClientSet) {
        let catalogs = &self.edge.catalogs;
        let mut changes = catalogs.changes();
        self.fetch_new(members, set);
        let mut missing = self.missing(members, set);
        catalogs.not_waited_for(&mut missing, set);
        if missing.is_empty() {
            return;
        }
        let deadline = Instant::now() + PATIENCE;
        let any_known = missing.len() < members.len();
        let mut quiet_at = if any_known { Instant::now() + QUIET } else { deadline };
        while !missing.is_empty() {
            // A server that has answered for clients without capabilities, or whose node has its
            // lists, will answer.
            let until = if self.any_alive(&missing) { deadline } else { quiet_at.min(deadline) };
            if tokio::time::timeout_at(until, changes.changed()).await.is_err() {
                break;
            }
            self.fetch_new(members, set);
            let before = missing.len();
            let still = self.missing(members, set);
            missing.retain(|server| still.contains(server));
            if missing.len() < before {
                quiet_at = Instant::now() + QUIET;
            }
        }
        catalogs.note_waited(missing, set);
    }

    fn any_alive(&self, servers: &[ServerName]) -> bool {
        let topology = self.edge.topology.load();
        let catalogs = &self.edge.catalogs;
        servers.iter().any(|server| {
            catalogs.known(&topology, server, ClientSet::default()).is_some()
                || Catalogs::is_promised(&topology, server)
        })
    }

    fn missing(&self, members: &[Member], set: ClientSet) -> Vec<ServerName> {
        let topology = self.edge.topology.load();
        let servers = members.iter().map(|member| &member.server);
        servers
            .filter(|server| self.edge.catalogs.is_missing(&topology, server, set))
            .cloned()
            .collect()
    }

    fn merged(&self, scope: &Scope, members: &[Member], set: ClientSet) -> Arc<ScopeCatalog> {
        let catalogs = &self.edge.catalogs;
        let topology = self.edge.topology.load();
        let key = (scope.clone(), set);
        if let Some(merged) = catalogs.merged(&key, &topology, self.edge.revision) {
            return merged;
        }
        // Read before the catalogs are: a change meanwhile then makes this merge stale.
        let version = (*catalogs.changes().borrow(), self.edge.revision);
        catalogs.prune(&topology);
        let catalog = |server: &ServerName| catalogs.known(&topology, server, set);
        let merged = self.merge(scope, &topology, (members, &[]), catalog);
        let merged = Arc::new(merged);
        let servers = members.iter().map(|member| &member.server);
        let is_settled = catalogs.are_settled(&topology, servers, set);
        catalogs.keep_merged(key, &topology, version, (&merged, is_settled));
        merged
    }

    fn merge(
        &self,
        scope: &Scope,
        topology: &Topology,
        (members, to_log_in): (&[Member], &[ServerName]),
        catalog: impl Fn(&ServerName) -> Option<Arc<Catalog>>,
    ) -> ScopeCatalog {
        let known: Vec<(&Member, Arc<Catalog>)> =
            members.iter().filter_map(|m| Some((m, catalog(&m.server)?))).collect();
        let config = &self.edge.config;
        let parts: Vec<ServerPart<'_>> = known
            .iter()
            .map(|(member, catalog)| ServerPart {
                member,
                // The tool that asks for a login is the gateway's, and nobody has chosen of it.
                selection: match to_log_in.contains(&member.server) {
                    true => None,
                    false => topology.selection(&member.server).map(|selection| &**selection),
                },
                catalog,
            })
            .collect();
        let mode = match scope.of_url() {
            Scope::Server(_) => crate::edge::config::PrefixMode::Never,
            Scope::All | Scope::Key(_) | Scope::Group(_) | Scope::Judged(_) => config.prefix,
        };
        ScopeCatalog::of(&parts, Naming { mode, separator: &config.separator })
    }

    /// What a scope offers to one session, if that differs from what it offers to others: the
    /// session has servers open whose lists have changed in it, or differ on its node from those
    /// elsewhere; or its user has yet to log in. `None` otherwise.
    pub(in crate::edge) async fn own_scope_catalog(
        &self,
        scope: &Scope,
        session: &Session,
    ) -> Option<ScopeCatalog> {
        let record = self.edge.bindings.record(session.id);
        let logins = self.login_members(scope);
        if record.is_none() && logins.is_empty() {
            return None;
        }
        let (topology, catalogs) = (&self.edge.topology.load_full(), &self.edge.catalogs);
        let mut members = scope::members(self, scope);
        let set = self.set_of(session);
        let asking = members.iter().filter_map(|member| {
            let open = record.as_ref()?.servers.iter();
            let (_, binding) = open.into_iter().find(|(name, _)| *name == member.server)?;
            let node = topology.node(&binding.node).filter(|node| node.health.serves())?;
            Some(async move {
                let key = (node.id.clone(), member.server.clone(), set);
                let fetch = self.fetch(&node.reach, &key, Some(session.id));
                let own = tokio::time::timeout(OWN_LISTS_TIMEOUT, fetch).await.ok()?.ok()?;
                let own = match own.catalog {
                    Some(own) => Arc::new(own),
                    None => catalogs.differing(topology, &node.id, &member.server, set)?,
                };
                Some((member.server.clone(), own))
            })
        });
        let mut own: HashMap<ServerName, Arc<Catalog>> =
            futures_util::future::join_all(asking).await.into_iter().flatten().collect();
        for server in &logins {
            let key = (session.principal.clone(), server.clone());
            let lists = &self.edge.logins.lists;
            match own.get(server) {
                Some(own) => lists.note(&key, own),
                // Its instance has ended while it was idle: the next message opens it again.
                None => own.extend(lists.get(&key).map(|known| (server.clone(), known))),
            }
        }
        let is_unknown = |server: &ServerName| {
            let known = own.contains_key(server) || catalogs.known(topology, server, set).is_some();
            topology.knows(server) && !known
        };
        let to_log_in: Vec<ServerName> = logins.into_iter().filter(is_unknown).collect();
        for server in &to_log_in {
            own.extend(log_in_tool::catalog().map(|catalog| (server.clone(), catalog)));
        }
        if own.is_empty() {
            return None;
        }
        for member in members.iter_mut().filter(|member| to_log_in.contains(&member.server)) {
            *member = log_in_tool::whole(member);
        }
        let members = (&members[..], &to_log_in[..]);
        Some(self.merge(scope, topology, members, |server| {
            own.get(server).cloned().or_else(|| catalogs.known(topology, server, set))
        }))
    }

    /// The tools by which a scope's users log in, listed or not: a client may know one from a list of
    /// before the login. `None` if the scope has no such server.
    pub(in crate::edge) fn log_in_tools(&self, scope: &Scope) -> Option<ScopeCatalog> {
        let topology = self.edge.topology.load_full();
        let mut logins = self.login_members(scope);
        logins.retain(|server| topology.knows(server));
        if logins.is_empty() {
            return None;
        }
        let mut members = scope::members(self, scope);
        members.retain(|member| logins.contains(&member.server));
        let members: Vec<Member> = members.iter().map(log_in_tool::whole).collect();
        let tool = |_: &ServerName| log_in_tool::catalog();
        Some(self.merge(scope, &topology, (&members, &logins), tool))
    }
}
