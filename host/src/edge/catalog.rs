//! The replicas' catalogues at the edge, and what scopes make of them.
//!
//! A replica's catalogue is fetched over the seam when its digest is new. A list
//! waits for first fetches, but never long and never twice for one server: the
//! late one appears in the next list.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::model::{Node, NodeId, Scope, ServerName, SessionId, Topology};
use crate::protocol::catalog::Catalog;
use crate::protocol::initialize::{ClientSet, Outcome};
use crate::seam::collect;

use super::merge::{Merged, Naming, Part};
use super::session::Session;
use super::{Member, Worker, classify};

/// A list waits while discoveries keep finishing within this time of each other.
const QUIET: Duration = Duration::from_millis(250);
/// The longest wait of a list.
const PATIENCE: Duration = Duration::from_secs(5);
/// A failed fetch is tried again by the next list after this time.
const RETRY: Duration = Duration::from_secs(2);
/// A discovery that installs its server first has 180 s for that alone.
const FETCH_TIMEOUT: Duration = Duration::from_secs(300);
/// A session's own lists lie ready at its host, or are read within seconds.
const OWN_LISTS_TIMEOUT: Duration = Duration::from_secs(5);
/// The size of a catalogue on the seam.
const MAX_CATALOG: usize = 64 << 20;

type Key = (NodeId, ServerName, ClientSet);

#[derive(Clone)]
enum State {
    Fetching,
    Known(Arc<Catalog>),
    Failed(Instant),
}

struct Entry {
    /// The replica's digest when this was fetched.
    digest: Option<Arc<str>>,
    state: State,
    /// What was known before: served until the new one is here.
    before: Option<Arc<Catalog>>,
}

/// What was merged, and from which state of catalogues and topology.
struct Made {
    catalogues: u64,
    generation: u64,
    merged: Arc<Merged>,
}

pub struct Catalogs {
    entries: Mutex<HashMap<Key, Entry>>,
    merged: Mutex<HashMap<(Scope, ClientSet), Made>>,
    /// Servers that a list has waited for.
    waited: Mutex<HashSet<(ServerName, ClientSet)>>,
    changes: watch::Sender<u64>,
}

impl Default for Catalogs {
    fn default() -> Self {
        Self {
            entries: Mutex::default(),
            merged: Mutex::default(),
            waited: Mutex::default(),
            changes: watch::Sender::new(0),
        }
    }
}

impl Catalogs {
    /// Counts changes of any catalogue.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// What a replica offers to these clients; until that is known, what it offers
    /// to clients without capabilities.
    fn known(
        &self,
        topology: &Topology,
        server: &ServerName,
        set: ClientSet,
    ) -> Option<Arc<Catalog>> {
        let entries = lock(&self.entries);
        let of = |node: &Node, set: ClientSet| {
            let entry = entries.get(&(node.id.clone(), server.clone(), set))?;
            match &entry.state {
                State::Known(catalog) => Some(Arc::clone(catalog)),
                State::Fetching | State::Failed(_) => entry.before.clone(),
            }
        };
        let exact = candidates(topology, server).find_map(|node| of(node, set));
        exact.or_else(|| {
            candidates(topology, server).find_map(|node| of(node, ClientSet::default()))
        })
    }

    /// Whether a replica is up, and nothing has been heard of its server yet,
    /// good or bad.
    fn is_missing(&self, topology: &Topology, server: &ServerName, set: ClientSet) -> bool {
        let entries = lock(&self.entries);
        let mut replicas = candidates(topology, server).peekable();
        if replicas.peek().is_none() {
            return false;
        }
        !replicas.any(|node| {
            entries
                .get(&(node.id.clone(), server.clone(), set))
                .is_some_and(|e| e.before.is_some() || !matches!(e.state, State::Fetching))
        })
    }

    /// Forgets catalogues of nodes that are gone.
    fn prune(&self, topology: &Topology) {
        lock(&self.entries).retain(|(node, server, _), _| {
            topology.node(node).is_some_and(|node| node.servers.contains_key(server))
        });
        lock(&self.merged).retain(|_, made| made.generation == topology.generation);
    }

    fn settle(&self, key: &Key, state: State) {
        if let Some(entry) = lock(&self.entries).get_mut(key) {
            if let State::Known(_) = state {
                entry.before = None;
            }
            entry.state = state;
        }
        self.changes.send_modify(|count| *count += 1);
    }
}

impl Worker {
    /// What a scope offers to clients with these capabilities, now.
    pub(super) async fn offers(&self, scope: &Scope, set: ClientSet) -> Arc<Merged> {
        let members = classify::members(self, scope);
        self.await_first(&members, set).await;
        self.merged(scope, &members, set)
    }

    /// The same without waiting for anybody.
    pub(super) fn offers_now(&self, scope: &Scope, set: ClientSet) -> Arc<Merged> {
        let members = classify::members(self, scope);
        self.fetch_new(&members, set);
        self.merged(scope, &members, set)
    }

    /// Looks something up in what the scope offers; if it is not there, again
    /// whenever a server is heard of for the first time, until all have been.
    pub(super) async fn await_silent<T>(
        &self,
        scope: &Scope,
        set: ClientSet,
        look: impl Fn(&Merged) -> Option<T>,
    ) -> Option<T> {
        let members = classify::members(self, scope);
        let mut changes = self.edge.catalogs.changes();
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.fetch_new(&members, set);
            if let Some(found) = look(&self.merged(scope, &members, set)) {
                return Some(found);
            }
            if self.missing(&members, set).is_empty() {
                return None;
            }
            match tokio::time::timeout_at(deadline, changes.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return None,
            }
        }
    }

    /// Whether a server announces a capability; where nothing is known, it may.
    pub(super) fn capability(&self, server: &ServerName, set: ClientSet, name: &str) -> bool {
        self.announces(server, set, name).unwrap_or(true)
    }

    /// Whether a server is known to announce a capability.
    pub(super) fn is_known_for(&self, server: &ServerName, set: ClientSet, name: &str) -> bool {
        self.announces(server, set, name).unwrap_or(false)
    }

    fn announces(&self, server: &ServerName, set: ClientSet, name: &str) -> Option<bool> {
        let topology = self.edge.topology.load();
        let catalog = self.edge.catalogs.known(&topology, server, set)?;
        let announced = serde_json::from_str::<Outcome<'_>>(catalog.initialize.get())
            .ok()
            .and_then(|outcome| {
                let capabilities = outcome.capabilities?;
                serde_json::from_str::<HashMap<String, serde::de::IgnoredAny>>(capabilities.get())
                    .ok()
            });
        Some(announced.is_some_and(|capabilities| capabilities.contains_key(name)))
    }

    /// Whether the server says of a tool that it only reads, or that a second call
    /// changes nothing more (2025-11-25, server/tools, "Tool").
    pub(super) async fn is_harmless_tool(
        &self,
        server: &ServerName,
        set: ClientSet,
        name: &str,
    ) -> bool {
        #[derive(serde::Deserialize)]
        struct Tool {
            name: String,
            #[serde(default)]
            annotations: Annotations,
        }
        #[derive(serde::Deserialize, Default)]
        #[serde(default, rename_all = "camelCase")]
        struct Annotations {
            read_only_hint: bool,
            idempotent_hint: bool,
        }
        // A server that only passes through may not have been heard of here.
        self.offers(&Scope::Server(server.clone()), set).await;
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
        missing.retain(|server| !lock(&catalogs.waited).contains(&(server.clone(), set)));
        if missing.is_empty() {
            return;
        }
        let deadline = Instant::now() + PATIENCE;
        let any_known = missing.len() < members.len();
        let mut quiet_at = if any_known { Instant::now() + QUIET } else { deadline };
        while !missing.is_empty() {
            // A server that has answered other clients will answer these too.
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
        lock(&catalogs.waited).extend(missing.into_iter().map(|server| (server, set)));
    }

    fn any_alive(&self, servers: &[ServerName]) -> bool {
        let topology = self.edge.topology.load();
        let catalogs = &self.edge.catalogs;
        servers
            .iter()
            .any(|server| catalogs.known(&topology, server, ClientSet::default()).is_some())
    }

    fn missing(&self, members: &[Member], set: ClientSet) -> Vec<ServerName> {
        let topology = self.edge.topology.load();
        let servers = members.iter().map(|member| &member.server);
        servers
            .filter(|server| self.edge.catalogs.is_missing(&topology, server, set))
            .cloned()
            .collect()
    }

    fn merged(&self, scope: &Scope, members: &[Member], set: ClientSet) -> Arc<Merged> {
        let catalogs = &self.edge.catalogs;
        let topology = self.edge.topology.load();
        let version = *catalogs.changes.borrow();
        let key = (scope.clone(), set);
        if let Some(made) = lock(&catalogs.merged).get(&key)
            && made.catalogues == version
            && made.generation == topology.generation
        {
            return Arc::clone(&made.merged);
        }
        catalogs.prune(&topology);
        let merged = self.merge(scope, members, |server| catalogs.known(&topology, server, set));
        let merged = Arc::new(merged);
        let made = Made {
            catalogues: version,
            generation: topology.generation,
            merged: Arc::clone(&merged),
        };
        lock(&catalogs.merged).insert(key, made);
        merged
    }

    fn merge(
        &self,
        scope: &Scope,
        members: &[Member],
        catalog: impl Fn(&ServerName) -> Option<Arc<Catalog>>,
    ) -> Merged {
        let known: Vec<(&Member, Arc<Catalog>)> =
            members.iter().filter_map(|m| Some((m, catalog(&m.server)?))).collect();
        let config = &self.edge.config;
        let parts: Vec<Part<'_>> = known
            .iter()
            .map(|(member, catalog)| Part {
                member,
                selection: config.selections.get(&member.server),
                catalog,
            })
            .collect();
        let mode = match scope {
            Scope::Server(_) => super::PrefixMode::Never,
            Scope::All | Scope::Group(_) => config.prefix,
        };
        Merged::of(&parts, Naming { mode, separator: &config.separator })
    }

    /// What a scope offers to one session: as to others, but for servers that it
    /// has open and whose own lists have changed. None if no list has.
    pub(super) async fn own_offers(&self, scope: &Scope, session: &Session) -> Option<Merged> {
        let record = self.edge.bindings.record(session.id)?;
        let topology = self.edge.topology.load_full();
        let members = classify::members(self, scope);
        let set = session.client_set();
        let asking = members.iter().filter_map(|member| {
            let (_, binding) = record.servers.iter().find(|(name, _)| *name == member.server)?;
            let node = topology.node(&binding.node).filter(|node| node.health.serves())?;
            Some(async move {
                let fetch = self.fetch(&node.reach, &member.server, set, Some(session.id));
                let own = tokio::time::timeout(OWN_LISTS_TIMEOUT, fetch).await.ok()?.ok()??;
                Some((member.server.clone(), Arc::new(own)))
            })
        });
        let own: HashMap<ServerName, Arc<Catalog>> =
            futures_util::future::join_all(asking).await.into_iter().flatten().collect();
        if own.is_empty() {
            return None;
        }
        let catalogs = &self.edge.catalogs;
        Some(self.merge(scope, &members, |server| {
            own.get(server).cloned().or_else(|| catalogs.known(&topology, server, set))
        }))
    }

    /// Starts a fetch for each replica whose catalogue is unknown or changed.
    fn fetch_new(&self, members: &[Member], set: ClientSet) {
        let topology = self.edge.topology.load();
        for member in members {
            for node in candidates(&topology, &member.server) {
                self.fetch_if_new(node, &member.server, set);
                // Known early, since hosts begin with it.
                self.fetch_if_new(node, &member.server, ClientSet::default());
            }
        }
    }

    fn fetch_if_new(&self, node: &Node, server: &ServerName, set: ClientSet) {
        let digest = node.servers.get(server).and_then(|replica| replica.digest.clone());
        let key = (node.id.clone(), server.clone(), set);
        {
            let mut entries = lock(&self.edge.catalogs.entries);
            let before = match entries.get(&key) {
                None => None,
                Some(Entry { state: State::Fetching, .. }) => return,
                Some(Entry { state: State::Known(_), digest: fetched, .. })
                    if *fetched == digest =>
                {
                    return;
                }
                Some(Entry { state: State::Failed(at), digest: fetched, .. })
                    if *fetched == digest && at.elapsed() < RETRY =>
                {
                    return;
                }
                Some(Entry { state: State::Known(catalog), .. }) => Some(Arc::clone(catalog)),
                Some(Entry { before, .. }) => before.clone(),
            };
            entries.insert(key.clone(), Entry { digest, state: State::Fetching, before });
        }
        let worker = self.clone();
        let reach = node.reach.clone();
        tokio::spawn(async move {
            let (_, server, set) = &key;
            let fetch = worker.fetch(&reach, server, *set, None);
            let fetched = tokio::time::timeout(FETCH_TIMEOUT, fetch).await;
            let state = match fetched.unwrap_or_else(|_| Err("no answer".to_owned())) {
                Ok(Some(catalog)) => State::Known(Arc::new(catalog)),
                Ok(None) => State::Failed(Instant::now()),
                Err(why) => {
                    tracing::debug!(node = %key.0, server = %server, "no catalogue: {why}");
                    State::Failed(Instant::now())
                }
            };
            worker.edge.catalogs.settle(&key, state);
        });
    }

    async fn fetch(
        &self,
        reach: &crate::model::Reach,
        server: &ServerName,
        set: ClientSet,
        session: Option<SessionId>,
    ) -> Result<Option<Catalog>, String> {
        let response = self
            .link
            .catalog(reach, server, set.bits(), session)
            .await
            .map_err(|e| e.to_string())?;
        let status = response.status();
        let body = collect(response.into_body(), MAX_CATALOG).await.map_err(|e| e.to_string())?;
        match status {
            StatusCode::NO_CONTENT => Ok(None),
            status if status.is_success() => {
                Catalog::from_json(&body).map(Some).map_err(|error| error.to_string())
            }
            status => Err(format!("HTTP {status}")),
        }
    }
}

/// Replicas whose word counts, the healthy ones first.
fn candidates<'a>(
    topology: &'a Topology,
    server: &'a ServerName,
) -> impl Iterator<Item = &'a Arc<Node>> {
    let healthy =
        topology.replicas(server).filter(|node| node.health == crate::model::Health::Healthy);
    let other = topology
        .replicas(server)
        .filter(|node| node.health.serves() && node.health != crate::model::Health::Healthy);
    healthy.chain(other)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
