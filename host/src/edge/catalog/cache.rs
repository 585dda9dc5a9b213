//! The replicas' catalogues at the edge: each is fetched over the seam when its
//! digest is new. What scopes make of them is in `offers`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::model::{Node, NodeId, Scope, ServerName, Topology};
use crate::protocol::catalog::Catalog;
use crate::protocol::initialize::ClientSet;
use crate::sync::Locked;

use super::merge::ScopeCatalog;

/// One replica's catalogue, as clients with these capabilities see it.
pub type CatalogKey = (NodeId, ServerName, ClientSet);
/// A failed fetch is tried again by the next list after this time.
const RETRY: Duration = Duration::from_secs(2);

/// None until a replica has been discovered.
pub type Digest = Option<Arc<str>>;

#[derive(Clone)]
enum FetchState {
    Fetching,
    Known(Arc<Catalog>),
    Failed(Instant),
}

struct CatalogEntry {
    /// The replica's digest when this was fetched.
    digest: Digest,
    state: FetchState,
    /// What was known before: served until the new one is here.
    before: Option<Arc<Catalog>>,
    /// When the replica's lists were last seen to change; 0 if never.
    news: u64,
    /// Digest of the lists that were known last.
    lists: Option<String>,
}

impl CatalogEntry {
    /// What is known, perhaps from before.
    fn catalog(&self) -> Option<Arc<Catalog>> {
        match &self.state {
            FetchState::Known(catalog) => Some(Arc::clone(catalog)),
            FetchState::Fetching | FetchState::Failed(_) => self.before.clone(),
        }
    }
}

/// What was merged, and from which state of catalogues and topology.
struct CachedMerge {
    catalogs: u64,
    generation: u64,
    merged: Arc<ScopeCatalog>,
}

pub struct Catalogs {
    entries: Locked<HashMap<CatalogKey, CatalogEntry>>,
    merged: Locked<HashMap<(Scope, ClientSet), CachedMerge>>,
    /// Servers that a list has waited for.
    waited: Locked<HashSet<(ServerName, ClientSet)>>,
    /// Digests of the last topology that was looked at.
    digests: Locked<HashMap<(NodeId, ServerName), Digest>>,
    changes: watch::Sender<u64>,
}

impl Default for Catalogs {
    fn default() -> Self {
        Self {
            entries: Locked::default(),
            merged: Locked::default(),
            waited: Locked::default(),
            digests: Locked::default(),
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

    /// Wakes whoever follows the catalogues when a digest is new: while no client
    /// lists anything, nobody else would fetch what has changed.
    pub fn look_at(&self, topology: &Topology) {
        let nodes = topology.nodes.iter();
        let digests: HashMap<_, _> = nodes
            .flat_map(|node| {
                let id = |server: &ServerName| (node.id.clone(), server.clone());
                node.servers
                    .iter()
                    .map(move |(server, replica)| (id(server), replica.digest.clone()))
            })
            .collect();
        let is_new = std::mem::replace(&mut *self.digests.lock(), digests.clone()) != digests;
        if is_new {
            self.changes.send_modify(|count| *count += 1);
        }
    }

    /// What a replica offers to these clients; until that is known, what it offers
    /// to clients without capabilities. Of several replicas the one whose lists
    /// have changed last: the others have not been asked since.
    pub fn known(
        &self,
        topology: &Topology,
        server: &ServerName,
        set: ClientSet,
    ) -> Option<Arc<Catalog>> {
        newest(&self.entries.lock(), topology, server, set).and_then(CatalogEntry::catalog)
    }

    /// What one replica offers, where its lists are not those that `known` gives,
    /// and are no older.
    pub fn differing(
        &self,
        topology: &Topology,
        node: &NodeId,
        server: &ServerName,
        set: ClientSet,
    ) -> Option<Arc<Catalog>> {
        let entries = self.entries.lock();
        let usual = newest(&entries, topology, server, set)?;
        let own = entries.get(&(node.clone(), server.clone(), set))?;
        (own.lists != usual.lists && own.news >= usual.news).then(|| own.catalog()).flatten()
    }

    /// Whether a replica is up, and nothing has been heard of its server yet,
    /// good or bad.
    pub fn is_missing(&self, topology: &Topology, server: &ServerName, set: ClientSet) -> bool {
        let entries = self.entries.lock();
        let mut replicas = candidates(topology, server).peekable();
        if replicas.peek().is_none() {
            return false;
        }
        !replicas.any(|node| {
            entries
                .get(&(node.id.clone(), server.clone(), set))
                .is_some_and(|e| e.before.is_some() || !matches!(e.state, FetchState::Fetching))
        })
    }

    /// What was merged of the present catalogues and topology.
    pub fn merged(
        &self,
        key: &(Scope, ClientSet),
        topology: &Topology,
    ) -> Option<Arc<ScopeCatalog>> {
        let made = self.merged.lock();
        let made = made.get(key).filter(|made| {
            made.catalogs == *self.changes.borrow() && made.generation == topology.generation
        });
        made.map(|made| Arc::clone(&made.merged))
    }

    /// Keeps what was merged when the catalogues had changed so often.
    pub fn keep_merged(
        &self,
        key: (Scope, ClientSet),
        topology: &Topology,
        catalogs: u64,
        merged: &Arc<ScopeCatalog>,
    ) {
        let made =
            CachedMerge { catalogs, generation: topology.generation, merged: Arc::clone(merged) };
        self.merged.lock().insert(key, made);
    }

    /// Of these servers, those that no list has waited for.
    pub fn not_waited_for(&self, servers: &mut Vec<ServerName>, set: ClientSet) {
        let waited = self.waited.lock();
        servers.retain(|server| !waited.contains(&(server.clone(), set)));
    }

    pub fn waited_for(&self, servers: Vec<ServerName>, set: ClientSet) {
        self.waited.lock().extend(servers.into_iter().map(|server| (server, set)));
    }

    /// Forgets catalogues of nodes that are gone.
    pub fn prune(&self, topology: &Topology) {
        self.entries.lock().retain(|(node, server, _), _| {
            topology.node(node).is_some_and(|node| node.servers.contains_key(server))
        });
        self.merged.lock().retain(|_, made| made.generation == topology.generation);
    }

    /// Notes that a catalogue is being fetched. False if there is no need: it is known with
    /// this digest, being fetched, or its last fetch failed a moment ago.
    pub fn start_fetching(&self, key: &CatalogKey, digest: Digest) -> bool {
        let mut entries = self.entries.lock();
        let known = entries.get(key);
        let (news, lists) = known.map_or((0, None), |entry| (entry.news, entry.lists.clone()));
        let before = match known {
            None => None,
            Some(CatalogEntry { state: FetchState::Fetching, .. }) => return false,
            Some(CatalogEntry { state: FetchState::Known(_), digest: fetched, .. })
                if *fetched == digest =>
            {
                return false;
            }
            Some(CatalogEntry { state: FetchState::Failed(at), digest: fetched, .. })
                if *fetched == digest && at.elapsed() < RETRY =>
            {
                return false;
            }
            Some(CatalogEntry { state: FetchState::Known(catalog), .. }) => {
                Some(Arc::clone(catalog))
            }
            Some(CatalogEntry { before, .. }) => before.clone(),
        };
        let state = FetchState::Fetching;
        entries.insert(key.clone(), CatalogEntry { digest, state, before, news, lists });
        true
    }

    /// Keeps what a fetch has brought; `None` if it failed.
    pub fn settle(&self, key: &CatalogKey, catalog: Option<Catalog>) {
        let state = match catalog {
            Some(catalog) => FetchState::Known(Arc::new(catalog)),
            None => FetchState::Failed(Instant::now()),
        };
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.get_mut(key) {
            if let FetchState::Known(catalog) = &state
                && let Some(before) = entry.before.take()
                && before.lists_digest() != catalog.lists_digest()
            {
                entry.news = *self.changes.borrow() + 1;
            }
            if let FetchState::Known(catalog) = &state {
                entry.lists = Some(catalog.lists_digest());
            }
            entry.state = state;
        }
        // Under the lock: who sees the new entry finds what was merged stale.
        self.changes.send_modify(|count| *count += 1);
    }
}

/// Of several replicas the one whose lists have changed last, as `set` sees them;
/// until that is known, as clients without capabilities do.
fn newest<'a>(
    entries: &'a HashMap<CatalogKey, CatalogEntry>,
    topology: &Topology,
    server: &ServerName,
    set: ClientSet,
) -> Option<&'a CatalogEntry> {
    let of = |set: ClientSet| {
        let replicas = candidates(topology, server);
        let known = replicas
            .filter_map(|node| entries.get(&(node.id.clone(), server.clone(), set)))
            .filter(|entry| entry.catalog().is_some());
        known.reduce(|best, next| if next.news > best.news { next } else { best })
    };
    of(set).or_else(|| of(ClientSet::default()))
}

/// Replicas whose word counts, the healthy ones first.
pub fn candidates<'a>(
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
