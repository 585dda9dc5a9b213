//! The replicas' catalogs at the edge. Each is fetched over the seam when its digest is new;
//! `scope_catalog` makes of them what a scope offers.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::model::{Node, NodeId, Scope, ServerName, Topology};
use crate::protocol::catalog::Catalog;
use crate::protocol::initialize::ClientSet;
use crate::sync::Locked;

use super::era_marks::{EraMarks, KnownMarks};
use super::extensions::KnownExtensions;
use super::kept;
use super::merge::ScopeCatalog;
use super::node_budget::{NODE_CATALOGS, NodeBudgets, size_of};

/// One replica's catalog, as clients with these capabilities see it.
pub type CatalogKey = (NodeId, ServerName, ClientSet);
/// Time after a failed fetch from which the next list request tries again.
const RETRY: Duration = Duration::from_secs(2);

/// Most merged catalogs of scopes that rules narrow: tokens decide how many sets of rights there are. If
/// there are more, all of them are merged anew.
const MOST_JUDGED: usize = 512;

/// Identifies a replica's catalog; `None` before its first discovery.
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
    /// The catalog from before, which is served until the new one is fetched.
    before: Option<Arc<Catalog>>,
    /// The number of the change by which the replica's lists last differed; 0 if they never did.
    news: u64,
    /// Digest of the lists that were fetched last.
    lists: Option<String>,
    /// Bytes of the catalog that is served, about.
    size: usize,
}

impl CatalogEntry {
    /// The catalog that is served; it may be the one from before.
    fn catalog(&self) -> Option<Arc<Catalog>> {
        match &self.state {
            FetchState::Known(catalog) => Some(Arc::clone(catalog)),
            FetchState::Fetching | FetchState::Failed(_) => self.before.clone(),
        }
    }
}

/// A merged catalog, and the state of catalogs and topology that it was made from.
struct CachedMerge {
    version: MergeVersion,
    generation: u64,
    merged: Arc<ScopeCatalog>,
    /// Whether nothing was to be fetched for it then.
    is_settled: bool,
}

/// What a merge was made of, beside the topology: the count of catalog changes, and the revision of
/// the settings.
pub type MergeVersion = (u64, u64);

/// The catalogs of all replicas that this process has fetched, and what was merged of them.
pub struct Catalogs {
    entries: Locked<HashMap<CatalogKey, CatalogEntry>>,
    merged: Locked<HashMap<(Scope, ClientSet), CachedMerge>>,
    /// Servers that a list request has waited for; none waits for them again.
    waited: Locked<HashSet<(ServerName, ClientSet)>>,
    /// The digests in the topology that [`Catalogs::note_digests`] saw last, and whether clients see
    /// the lists.
    digests: Locked<HashMap<(NodeId, ServerName), (Digest, bool)>>,
    /// Counts changes of any catalog.
    changes: watch::Sender<u64>,
    pub budgets: NodeBudgets,
    pub extensions: KnownExtensions,
    marks: KnownMarks,
}

impl Default for Catalogs {
    fn default() -> Self {
        Self {
            entries: Locked::default(),
            merged: Locked::default(),
            waited: Locked::default(),
            digests: Locked::default(),
            changes: watch::Sender::new(0),
            budgets: NodeBudgets::default(),
            extensions: KnownExtensions::default(),
            marks: KnownMarks::default(),
        }
    }
}

impl Catalogs {
    /// The same as by default, with the catalogs that were kept by the last start.
    #[must_use]
    pub fn kept(text: Option<Vec<u8>>) -> Self {
        let kept = text.map(|text| kept::from_json(&text)).unwrap_or_default();
        let entries = kept.into_iter().map(|(key, (digest, catalog))| {
            let entry = CatalogEntry {
                digest: Some(digest),
                lists: Some(catalog.lists_digest()),
                size: size_of(&catalog),
                state: FetchState::Known(catalog),
                before: None,
                news: 0,
            };
            (key, entry)
        });
        Self { entries: Locked::new(entries.collect()), ..Self::default() }
    }

    /// The catalogs of other nodes, to be kept for the next start.
    #[must_use]
    pub fn to_keep(&self, topology: &Topology) -> Vec<u8> {
        let entries = self.entries.lock();
        let known = entries.iter().filter_map(|(key, entry)| match &entry.state {
            FetchState::Known(catalog) => {
                Some((key.clone(), entry.digest.clone()?, Arc::clone(catalog)))
            }
            FetchState::Fetching | FetchState::Failed(_) => None,
        });
        let known = known.collect();
        drop(entries);
        kept::to_json(topology, known)
    }

    /// A count that grows with every change of any catalog.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Wakes the tasks that follow catalog changes: the scopes have other servers.
    pub fn touch(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Wakes the tasks that follow catalog changes if a digest is new, or if a node's lists are not
    /// shown any more. They fetch what has changed even while no client requests a list.
    pub fn note_digests(&self, topology: &Topology) {
        let nodes = topology.nodes.iter();
        let digests: HashMap<_, _> = nodes
            .flat_map(|node| {
                let id = |server: &ServerName| (node.id.clone(), server.clone());
                let is_listed =
                    node.health.serves() || node.away.is_some_and(|away| away.is_listed);
                node.servers
                    .iter()
                    .map(move |(server, replica)| (id(server), (replica.digest.clone(), is_listed)))
            })
            .collect();
        let is_new = std::mem::replace(&mut *self.digests.lock(), digests.clone()) != digests;
        if is_new {
            self.changes.send_modify(|count| *count += 1);
        }
    }

    /// What a server offers to these clients; until that is known, what it offers to clients
    /// without capabilities. Of several replicas, the one whose lists changed last counts: the
    /// others may have the same change, but have not been asked since.
    pub fn known(
        &self,
        topology: &Topology,
        server: &ServerName,
        set: ClientSet,
    ) -> Option<Arc<Catalog>> {
        newest(&self.entries.lock(), topology, server, set).and_then(CatalogEntry::catalog)
    }

    /// What a server says of the eras that it serves.
    pub fn marks(&self, topology: &Topology, server: &ServerName) -> EraMarks {
        // Read before the catalogs: what is found later than that is found again.
        let state = (*self.changes.borrow(), topology.generation);
        self.marks.in_state(state, server, || {
            let set = ClientSet::default();
            let Some(known) = self.known(topology, server, set) else { return EraMarks::default() };
            let is_outdated = !self.are_settled(topology, std::iter::once(server), set);
            EraMarks { is_outdated, ..EraMarks::of(known.initialize.get()) }
        })
    }

    /// What one replica offers, if its lists differ from those that [`Self::known`] gives and are
    /// not older.
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

    /// Whether the server has a replica that is up, and no fetch of any of them has finished yet,
    /// well or badly.
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

    /// Whether a node that has the server has told that it has lists to offer.
    #[must_use]
    pub fn is_promised(topology: &Topology, server: &ServerName) -> bool {
        let has_digest = |node: &Arc<Node>| {
            node.servers.get(server).is_some_and(|replica| replica.digest.is_some())
        };
        candidates(topology, server).any(has_digest)
    }

    /// The merged catalog, if it was made from the present catalogs and topology.
    pub fn merged(
        &self,
        key: &(Scope, ClientSet),
        topology: &Topology,
        revision: u64,
    ) -> Option<Arc<ScopeCatalog>> {
        self.present(key, topology, revision, |_| true)
    }

    /// The same, if nothing is to be fetched for it: all its catalogs are those that their replicas
    /// have now. So it is with nearly every call, which then asks nothing else.
    pub fn settled(
        &self,
        key: &(Scope, ClientSet),
        topology: &Topology,
        revision: u64,
    ) -> Option<Arc<ScopeCatalog>> {
        self.present(key, topology, revision, |made| made.is_settled)
    }

    fn present(
        &self,
        key: &(Scope, ClientSet),
        topology: &Topology,
        revision: u64,
        is_meant: impl Fn(&CachedMerge) -> bool,
    ) -> Option<Arc<ScopeCatalog>> {
        let made = self.merged.lock();
        let made = made.get(key).filter(|made| {
            made.version == (*self.changes.borrow(), revision)
                && made.generation == topology.generation
                && is_meant(made)
        });
        made.map(|made| Arc::clone(&made.merged))
    }

    /// Whether the catalog of every replica of these servers is known as the replica has it now, for
    /// these clients and for those without capabilities.
    pub fn are_settled<'a>(
        &self,
        topology: &Topology,
        mut servers: impl Iterator<Item = &'a ServerName>,
        set: ClientSet,
    ) -> bool {
        let entries = self.entries.lock();
        let is_known = |node: &Node, server: &ServerName, set: ClientSet| {
            let digest = node.servers.get(server).and_then(|replica| replica.digest.as_ref());
            let entry = entries.get(&(node.id.clone(), server.clone(), set));
            entry.is_some_and(|entry| {
                matches!(entry.state, FetchState::Known(_)) && entry.digest.as_ref() == digest
            })
        };
        servers.all(|server| {
            let mut replicas = candidates(topology, server);
            replicas.all(|node| {
                is_known(node, server, set) && is_known(node, server, ClientSet::default())
            })
        })
    }

    /// Keeps a merged catalog, made at this version.
    pub fn keep_merged(
        &self,
        key: (Scope, ClientSet),
        topology: &Topology,
        version: MergeVersion,
        (merged, is_settled): (&Arc<ScopeCatalog>, bool),
    ) {
        let (generation, merged) = (topology.generation, Arc::clone(merged));
        let made = CachedMerge { version, generation, merged, is_settled };
        let mut all = self.merged.lock();
        let is_judged = |(scope, _): &(Scope, ClientSet)| scope.rights().is_some();
        let is_new = is_judged(&key) && !all.contains_key(&key);
        if is_new && all.keys().filter(|key| is_judged(key)).count() >= MOST_JUDGED {
            all.retain(|key, _| !is_judged(key));
        }
        all.insert(key, made);
    }

    /// Removes the servers that a list request has waited for.
    pub fn not_waited_for(&self, servers: &mut Vec<ServerName>, set: ClientSet) {
        let waited = self.waited.lock();
        servers.retain(|server| !waited.contains(&(server.clone(), set)));
    }

    /// Notes that a list request has waited for these servers.
    pub fn note_waited(&self, servers: Vec<ServerName>, set: ClientSet) {
        self.waited.lock().extend(servers.into_iter().map(|server| (server, set)));
    }

    /// Forgets the catalogs of nodes that are gone, and what was merged for older topologies.
    pub fn prune(&self, topology: &Topology) {
        self.entries.lock().retain(|(node, server, _), _| {
            topology.node(node).is_some_and(|node| node.servers.contains_key(server))
        });
        self.merged.lock().retain(|_, made| made.generation == topology.generation);
        // Nodes may name any number of servers, one after the other.
        self.waited.lock().retain(|(server, _)| topology.replicas(server).next().is_some());
        self.budgets.prune(topology);
    }

    /// Notes that a catalog is being fetched. False if it need not be: it is known with this
    /// digest, it is being fetched, or its last fetch failed less than `RETRY` ago.
    pub fn start_fetching(&self, key: &CatalogKey, digest: Digest) -> bool {
        let mut entries = self.entries.lock();
        let known = entries.get(key);
        let (news, lists, size) =
            known.map_or((0, None, 0), |entry| (entry.news, entry.lists.clone(), entry.size));
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
        entries.insert(key.clone(), CatalogEntry { digest, state, before, news, lists, size });
        true
    }

    /// Bytes that are left for one catalog of another node, beside its others.
    #[must_use]
    pub fn left(&self, (node, server, set): &CatalogKey) -> usize {
        let entries = self.entries.lock();
        let others = entries.iter().filter(|((of, server_of, set_of), _)| {
            of == node && (server_of, set_of) != (server, set)
        });
        NODE_CATALOGS.saturating_sub(others.map(|(_, entry)| entry.size).sum())
    }

    /// Keeps the catalog that was fetched; `None` if the fetch failed.
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
                entry.size = size_of(catalog);
            }
            entry.state = state;
        }
        // While `entries` is locked: a reader of the new entry then finds the merged one stale.
        self.changes.send_modify(|count| *count += 1);
    }
}

/// The entry of the replica whose lists changed last, for `set`; until that is known, for clients
/// without capabilities.
fn newest<'a>(
    entries: &'a HashMap<CatalogKey, CatalogEntry>,
    topology: &Topology,
    server: &ServerName,
    set: ClientSet,
) -> Option<&'a CatalogEntry> {
    let of = |set: ClientSet| {
        let replicas = listed(topology, server);
        let known = replicas
            .filter_map(|node| entries.get(&(node.id.clone(), server.clone(), set)))
            .filter(|entry| entry.catalog().is_some());
        known.reduce(|best, next| if next.news > best.news { next } else { best })
    };
    let plain = set.without_extensions();
    of(set).or_else(|| of(plain)).or_else(|| of(ClientSet::default()))
}

/// The replicas of a server whose lists clients see: those that are up, or while none is, those of
/// nodes that are away and expected back.
fn listed<'a>(
    topology: &'a Topology,
    server: &'a ServerName,
) -> impl Iterator<Item = &'a Arc<Node>> {
    candidates(topology, server).chain(topology.away_with(server).map(|(node, _)| node))
}

/// The replicas of a server whose nodes serve sessions, the healthy ones first.
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::value::RawValue;

    use crate::model::{Health, JudgedScope, Policy, Reach, Replica, Room, Rule, RuleEntries, Who};

    use super::*;

    /// One node that has the server, with lists of this digest.
    fn topology(server: &ServerName, digest: &str) -> Topology {
        let replica = Replica { digest: Some(digest.into()), ..Replica::of_weight(1) };
        let node = Node {
            id: NodeId::parse("n").unwrap(),
            name: "n".into(),
            reach: Reach::Local,
            health: Health::Healthy,
            away: None,
            room: Room::Free,
            zone: "".into(),
            labels: Vec::new(),
            servers: BTreeMap::from([(server.clone(), replica)]),
        };
        Topology::of(1, vec![Arc::new(node)])
    }

    #[test]
    fn nothing_is_settled_until_all_is_known_as_replicas_have_it() {
        let (catalogs, set) = (Catalogs::default(), ClientSet::from_bits(3));
        let server = ServerName::parse("s").unwrap();
        let are_settled = |digest: &str| {
            catalogs.are_settled(&topology(&server, digest), std::iter::once(&server), set)
        };
        let fetch = |set: ClientSet| {
            let key = (NodeId::parse("n").unwrap(), server.clone(), set);
            assert!(catalogs.start_fetching(&key, Some("one".into())));
            assert!(!are_settled("one"), "it is being fetched");
            let catalog = Catalog::new(RawValue::from_string("{}".to_owned()).unwrap());
            catalogs.settle(&key, Some(catalog));
        };
        assert!(!are_settled("one"));
        fetch(set);
        assert!(!are_settled("one"), "clients without capabilities may see other lists");
        fetch(ClientSet::default());
        assert!(are_settled("one"));
        assert!(!are_settled("two"), "the replica has other lists by now");
        let other = Catalogs::default();
        let key = (NodeId::parse("n").unwrap(), server.clone(), ClientSet::default());
        assert!(other.start_fetching(&key, Some("one".into())));
        other.settle(&key, None);
        let topology = topology(&server, "one");
        let is_settled =
            other.are_settled(&topology, std::iter::once(&server), ClientSet::default());
        assert!(!is_settled, "it is fetched again");
    }

    #[test]
    fn merged_catalogs_do_not_grow_with_the_number_of_rights() {
        let catalogs = Catalogs::default();
        let (topology, set, merged) = (Topology::empty(), ClientSet::default(), Arc::default());
        let keep = |scope: Scope| {
            catalogs.keep_merged((scope, set), &topology, (0, 0), (&merged, false));
            catalogs.merged.lock().len()
        };
        keep(Scope::All);
        for number in 0..2 * MOST_JUDGED {
            let rule = Rule {
                name: number.to_string(),
                allows: true,
                who: Who::default(),
                servers: Vec::new(),
                targets: Vec::new(),
                entries: RuleEntries::default(),
                manages: false,
            };
            let rights = Policy { rules: vec![Arc::new(rule)] }.rights(&[0]);
            let judged = JudgedScope { of: Scope::All, rights: Some(Arc::new(rights)) };
            assert!(keep(Scope::Judged(Arc::new(judged))) <= MOST_JUDGED + 1);
        }
        assert!(catalogs.merged(&(Scope::All, set), &topology, 0).is_some());
        assert!(catalogs.settled(&(Scope::All, set), &topology, 0).is_none());
    }
}
