//! The registry: leases of nodes, and the topology that follows from them.
//!
//! ```text
//!               register
//!                  │   ┌──────────── register ────────────┐
//!                  ▼   ▼                                  │
//! (unknown) ──► Active ──── no heartbeat in time ───► Unhealthy ──┐
//!                 │ ▲                                             │ 10 × node timeout
//!      deregister │ │ register                                    ▼
//!                 ▼ │                                         (unknown)
//!              Inactive ──────────────────────────────────────────▲
//! ```
//!
//! A heartbeat does not bring a node back: its sessions may have moved meanwhile. It registers, and
//! is asked what it holds.
//!
//! Policy only: time is passed in, events are returned. A suspect node is still Active:
//! a request to it failed, and no heartbeat has come since.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::cluster::messages::LoadReport;
use crate::model::{Node, NodeId, Reach, Replica, ServerName, Topology, UnixMillis};
use crate::sync::Locked;

use super::bounds::{MAX_NODES, MAX_REPORTS, size_beside_servers};
use super::node_entry::{LeaseStatus, NodeEntry};

/// Node timeouts after which a dead node is removed.
const FORGET_AFTER: u32 = 10;

/// The content of a heartbeat. What is `None` has not changed.
#[derive(Debug, Clone, Default)]
pub struct Beat {
    pub servers: Option<BTreeMap<ServerName, Replica>>,
    /// Bytes that they take, about.
    pub size: usize,
    pub draining: bool,
    pub load: Option<LoadReport>,
}

/// A change that the passing of time has caused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseChange {
    /// The node's lease ran out.
    Unhealthy { id: NodeId, last_heartbeat: UnixMillis },
    /// The node has been gone for 10 node timeouts and is forgotten.
    Removed { id: NodeId },
}

/// A heartbeat is refused, so that the node registers again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unknown;

/// There is no room for a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this coordinator has no room for another node: at most {MAX_NODES} nodes, {MAX_REPORTS} bytes of servers"
)]
pub struct Full;

/// The nodes as the edge sees them. What has not changed is the value of before: of a thousand
/// nodes one changes at a time.
fn seen(nodes: &BTreeMap<NodeId, NodeEntry>, before: &[Arc<Node>]) -> Vec<Arc<Node>> {
    let mut before = before.iter().peekable();
    let seen = nodes.values().map(|entry| {
        while before.next_if(|node| node.id < entry.id).is_some() {}
        match before.next_if(|node| entry.is_seen_as(node)) {
            Some(node) => Arc::clone(node),
            None => Arc::new(entry.node()),
        }
    });
    seen.collect()
}

fn others_size(nodes: &BTreeMap<NodeId, NodeEntry>, id: &NodeId) -> usize {
    nodes.values().filter(|entry| entry.id != *id).map(|entry| entry.size + entry.beside).sum()
}

/// All known nodes and the topology that follows from them, shared by all workers.
pub struct Registry {
    nodes: Locked<BTreeMap<NodeId, NodeEntry>>,
    /// What the edge reads: updated before subscribers are notified.
    current: Arc<ArcSwap<Topology>>,
    topology: watch::Sender<Arc<Topology>>,
    /// Age of the last heartbeat at which a node becomes unhealthy.
    node_timeout: Duration,
    /// Counts the starts of nodes that have registered.
    starts: AtomicU64,
    /// Nodes of the last start that have not answered at this one: only their ids are theirs.
    kept: Locked<BTreeMap<NodeId, NodeEntry>>,
}

impl Registry {
    #[must_use]
    pub fn new(node_timeout: Duration) -> Self {
        Self {
            nodes: Locked::default(),
            current: Arc::new(ArcSwap::from_pointee(Topology::empty())),
            topology: watch::Sender::new(Arc::new(Topology::empty())),
            node_timeout,
            starts: AtomicU64::default(),
            kept: Locked::default(),
        }
    }

    /// The current topology, to be read at any time: it includes every registered node.
    #[must_use]
    pub fn current(&self) -> Arc<ArcSwap<Topology>> {
        Arc::clone(&self.current)
    }

    /// Notifies of each change of the topology.
    #[must_use]
    pub fn topology(&self) -> watch::Receiver<Arc<Topology>> {
        self.topology.subscribe()
    }

    /// Keeps the id of a node of the last start that has not answered at this one.
    pub fn keep(&self, entry: NodeEntry) {
        let mut kept = self.kept.lock();
        if kept.len() < MAX_NODES {
            kept.insert(entry.id.clone(), entry);
        }
    }

    /// Whose an id is: the registered node's, or that of the last start.
    #[must_use]
    pub fn holder(&self, id: &NodeId) -> Option<NodeEntry> {
        self.get(id).or_else(|| self.kept.lock().get(id).cloned())
    }

    /// Whether the id is that of a node of the last start that has not answered at this one.
    #[must_use]
    pub fn holds(&self, id: &NodeId) -> bool {
        self.kept.lock().contains_key(id)
    }

    /// Adds this process's own node.
    pub fn enter(&self, entry: NodeEntry) {
        self.change(|nodes| {
            nodes.insert(entry.id.clone(), entry);
        });
    }

    /// Rises whenever a start of a node registers that was not there before. A connection that
    /// was opened earlier may lead to another process than the one that is registered at its URL.
    #[must_use]
    pub fn starts(&self) -> u64 {
        self.starts.load(Ordering::Acquire)
    }

    /// Adds a node, or replaces all that was known of it. At its URL there is no other node then:
    /// one address is that of one process.
    ///
    /// # Errors
    /// If as many nodes are known as may be, or they report as much.
    pub fn register(&self, mut entry: NodeEntry) -> Result<(), Full> {
        entry.beside = size_beside_servers(&entry.labels, entry.load.as_ref());
        self.change_if(|nodes| {
            let is_new = !nodes.contains_key(&entry.id);
            if (is_new && nodes.len() >= MAX_NODES)
                || others_size(nodes, &entry.id) + entry.size + entry.beside > MAX_REPORTS
            {
                return (Err(Full), false);
            }
            let is_there = |known: &NodeEntry| {
                known.url == entry.url && known.is_start(entry.incarnation.expose())
            };
            if !nodes.get(&entry.id).is_some_and(is_there) {
                // Before anybody can see the node.
                self.starts.fetch_add(1, Ordering::AcqRel);
            }
            for other in nodes.values_mut() {
                if other.id != entry.id && other.url == entry.url && other.reach != Reach::Local {
                    other.status = LeaseStatus::Inactive;
                }
            }
            self.kept.lock().remove(&entry.id);
            nodes.insert(entry.id.clone(), entry);
            (Ok(()), true)
        })
    }

    /// Renews a lease.
    ///
    /// # Errors
    /// If the node is not known, is inactive, or is known as another start of it.
    pub fn heartbeat(
        &self,
        id: &NodeId,
        incarnation: &str,
        said: Beat,
        now: Instant,
    ) -> Result<(), Unknown> {
        let beat = |nodes: &mut BTreeMap<NodeId, NodeEntry>| {
            let known = nodes.get(id).ok_or(Unknown)?;
            let size = if said.servers.is_some() { said.size } else { known.size };
            let beside = said
                .load
                .as_ref()
                .map_or(known.beside, |load| size_beside_servers(&known.labels, Some(load)));
            let (before, now_said) = (known.size + known.beside, size + beside);
            // The node registers again, and is told why there.
            if now_said > before && others_size(nodes, id) + now_said > MAX_REPORTS {
                return Err(Unknown);
            }
            let entry = nodes.get_mut(id).ok_or(Unknown)?;
            let before = (entry.health(), entry.room());
            if !entry.is_start(incarnation) || entry.status != LeaseStatus::Active {
                return Err(Unknown);
            }
            entry.last_heartbeat = UnixMillis::now();
            entry.last_seen = now;
            entry.suspect = false;
            entry.draining = said.draining;
            entry.beside = beside;
            entry.load = said.load.or_else(|| entry.load.take());
            let mut changed = (entry.health(), entry.room()) != before;
            if let Some(servers) = said.servers.filter(|servers| *servers != entry.servers) {
                (entry.servers, entry.size) = (servers, said.size);
                changed = true;
            }
            Ok(changed)
        };
        // There are many heartbeats, and most change nothing that the edge sees.
        self.change_if(|nodes| match beat(nodes) {
            Ok(changed) => (Ok(()), changed),
            Err(unknown) => (Err(unknown), false),
        })
    }

    /// Marks a node as inactive. Returns whether it is known, as this start of it.
    pub fn deregister(&self, id: &NodeId, incarnation: &str) -> bool {
        self.change(|nodes| match nodes.get_mut(id) {
            Some(entry) if entry.is_start(incarnation) => {
                entry.status = LeaseStatus::Inactive;
                true
            }
            _ => false,
        })
    }

    /// Notes that a request to the node failed: it is avoided until its next heartbeat.
    pub fn suspect(&self, id: &NodeId) {
        self.change(|nodes| {
            if let Some(entry) = nodes.get_mut(id)
                && entry.reach != Reach::Local
            {
                entry.suspect = true;
            }
        });
    }

    /// Sets the servers of this process's own node.
    pub fn set_local_servers(&self, id: &NodeId, servers: BTreeMap<ServerName, Replica>) {
        self.change(|nodes| {
            if let Some(entry) = nodes.get_mut(id) {
                entry.servers = servers;
            }
        });
    }

    /// Sets the load of this process's own node.
    pub fn set_local_load(&self, id: &NodeId, load: LoadReport) {
        // Like heartbeats, this comes often and rarely changes what the edge sees.
        self.change_if(|nodes| {
            let Some(entry) = nodes.get_mut(id) else { return ((), false) };
            let before = entry.room();
            entry.load = Some(load);
            ((), entry.room() != before)
        });
    }

    /// Marks nodes whose lease has run out as unhealthy, and returns each of them once.
    pub fn expire(&self, now: Instant) -> Vec<LeaseChange> {
        let timeout = self.node_timeout;
        self.change_if(|nodes| {
            let late = nodes.values_mut().filter(|entry| {
                entry.status == LeaseStatus::Active
                    && entry.reach != Reach::Local
                    && now.saturating_duration_since(entry.last_seen) > timeout
            });
            let unhealthy = late.map(|entry| {
                entry.status = LeaseStatus::Unhealthy;
                LeaseChange::Unhealthy {
                    id: entry.id.clone(),
                    last_heartbeat: entry.last_heartbeat,
                }
            });
            let events: Vec<LeaseChange> = unhealthy.collect();
            let any = !events.is_empty();
            (events, any)
        })
    }

    /// Removes nodes that are not active and were last heard from more than 10 node
    /// timeouts ago.
    pub fn clean_up(&self, now: Instant) -> Vec<LeaseChange> {
        let limit = self.node_timeout.saturating_mul(FORGET_AFTER);
        let is_held = |kept: &NodeEntry| now.saturating_duration_since(kept.last_seen) <= limit;
        self.kept.lock().retain(|_, kept| is_held(kept));
        self.change_if(|nodes| {
            let gone: Vec<NodeId> = nodes
                .values()
                .filter(|entry| {
                    entry.status != LeaseStatus::Active
                        && now.saturating_duration_since(entry.last_seen) > limit
                })
                .map(|entry| entry.id.clone())
                .collect();
            for id in &gone {
                nodes.remove(id);
            }
            let any = !gone.is_empty();
            (gone.into_iter().map(|id| LeaseChange::Removed { id }).collect(), any)
        })
    }

    /// Reads the entry with this URL without copying it; of several, that of a node that is
    /// active.
    pub fn read_at<T>(&self, url: &str, read: impl FnOnce(&NodeEntry) -> T) -> Option<T> {
        let nodes = self.nodes.lock();
        let at_url = nodes.values().filter(|entry| entry.url == url);
        at_url.min_by_key(|entry| entry.status != LeaseStatus::Active).map(read)
    }

    /// Reads one entry without copying it.
    pub fn read<T>(&self, id: &NodeId, read: impl FnOnce(&NodeEntry) -> T) -> Option<T> {
        self.nodes.lock().get(id).map(read)
    }

    /// A copy of one entry.
    #[must_use]
    pub fn get(&self, id: &NodeId) -> Option<NodeEntry> {
        self.nodes.lock().get(id).cloned()
    }

    /// Copies of all entries, sorted by id.
    #[must_use]
    pub fn entries(&self) -> Vec<NodeEntry> {
        self.nodes.lock().values().cloned().collect()
    }

    /// Changes the nodes and publishes the topology if it changed.
    fn change<T>(&self, with: impl FnOnce(&mut BTreeMap<NodeId, NodeEntry>) -> T) -> T {
        self.change_if(|nodes| (with(nodes), true))
    }

    /// Like [`Self::change`], but `with` also returns whether the topology may have
    /// changed: comparing it costs time for every node.
    fn change_if<T>(&self, with: impl FnOnce(&mut BTreeMap<NodeId, NodeEntry>) -> (T, bool)) -> T {
        let mut nodes = self.nodes.lock();
        let (out, may_have_changed) = with(&mut nodes);
        if !may_have_changed {
            return out;
        }
        let seen = seen(&nodes, &self.current.load().nodes);
        self.topology.send_if_modified(|topology| {
            if topology.nodes == seen {
                return false;
            }
            let generation = topology.generation + 1;
            *topology = Arc::new(Topology::of(generation, seen));
            self.current.store(Arc::clone(topology));
            true
        });
        out
    }
}

#[cfg(test)]
mod tests;
