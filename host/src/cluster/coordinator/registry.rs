//! The registry: leases of nodes, and the topology that follows from them.
//!
//! ```text
//!               register
//!                  │   ┌──────────── register ────────────┐
//!                  ▼   ▼                                  │
//! (unknown) ──► Active ─── neither heard in time, ──► Unhealthy ──┐
//!                 │ ▲      nor does it answer                     │ 10 × node timeout
//!      deregister │ │ register                                    ▼
//!                 ▼ │                                         (unknown)
//!              Inactive ──────────────────────────────────────────▲
//! ```
//!
//! A heartbeat does not bring a node back: its sessions may have moved meanwhile. It registers, and
//! is asked what it holds.
//!
//! Policy only: time is passed in, events are returned. A suspect or silent node is still Active:
//! see `liveness.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::cluster::messages::{DrainReport, LoadReport};
use crate::cluster::trouble::ServerNotes;
use crate::model::{Absence, Node, NodeId, Reach, Replica, Room, ServerName, Topology, UnixMillis};
use crate::sync::{Locked, now};

use super::bounds::{MAX_NODES, MAX_REPORTS};
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
    pub drain: Option<DrainReport>,
    pub load: Option<LoadReport>,
    /// All that there are.
    pub notes: ServerNotes,
}

/// A change that the passing of time has caused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseChange {
    /// The node does not answer.
    Silent { id: NodeId },
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

/// Removes a node that has not come back since the start, so that another one finds room.
fn make_room(nodes: &mut BTreeMap<NodeId, NodeEntry>) {
    let is_expected =
        |entry: &NodeEntry| entry.away.is_some_and(|(away, _)| away.how == Absence::NotBack);
    let expected = nodes.values().find(|entry| is_expected(entry)).map(|entry| entry.id.clone());
    if let Some(id) = expected {
        nodes.remove(&id);
    }
}

/// All known nodes and the topology that follows from them, shared by all workers.
pub struct Registry {
    pub(super) nodes: Locked<BTreeMap<NodeId, NodeEntry>>,
    /// What the edge reads: updated before subscribers are notified.
    current: Arc<ArcSwap<Topology>>,
    topology: watch::Sender<Arc<Topology>>,
    /// Age of the last heartbeat at which a node becomes unhealthy.
    pub(super) node_timeout: Duration,
    /// How long the servers of a node that is away are listed.
    away_timeout: Duration,
    /// Counts the starts of nodes that have registered.
    starts: AtomicU64,
}

impl Registry {
    #[must_use]
    pub fn new(node_timeout: Duration) -> Self {
        Self {
            nodes: Locked::default(),
            current: Arc::new(ArcSwap::from_pointee(Topology::empty())),
            topology: watch::Sender::new(Arc::new(Topology::empty())),
            node_timeout,
            away_timeout: node_timeout.saturating_mul(FORGET_AFTER),
            starts: AtomicU64::default(),
        }
    }

    /// The same, which lists the servers of nodes that are away for this long.
    #[must_use]
    pub fn with_away_timeout(mut self, timeout: Duration) -> Self {
        self.away_timeout = timeout;
        self
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

    /// Enters nodes of before this start, which have not come back yet. Their ids are theirs, and
    /// clients see their servers.
    pub fn expect(&self, entries: Vec<NodeEntry>) {
        self.change(|nodes| {
            let room = MAX_NODES.saturating_sub(nodes.len());
            for mut entry in entries.into_iter().take(room) {
                entry.status = LeaseStatus::Unhealthy;
                if entry.away.is_none() {
                    entry.leave(Absence::NotBack, UnixMillis::now(), entry.last_seen);
                }
                nodes.entry(entry.id.clone()).or_insert(entry);
            }
        });
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
        entry.beside = entry.beside(entry.load.as_ref(), &entry.notes);
        self.change_if(|nodes| {
            let is_new = !nodes.contains_key(&entry.id);
            if is_new && nodes.len() >= MAX_NODES {
                make_room(nodes);
            }
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
                    other.away = None;
                }
            }
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
            let load = said.load.as_ref().or(known.load.as_ref());
            let beside = known.beside(load, &said.notes);
            let (before, now_said) = (known.size + known.beside, size + beside);
            // The node registers again, and is told why there.
            if now_said > before && others_size(nodes, id) + now_said > MAX_REPORTS {
                return Err(Unknown);
            }
            let entry = nodes.get_mut(id).ok_or(Unknown)?;
            let before = (entry.health(), entry.room(), entry.away.is_some());
            if !entry.is_start(incarnation) || entry.status != LeaseStatus::Active {
                return Err(Unknown);
            }
            entry.last_heartbeat = UnixMillis::now();
            // That of a node that gets no requests does not prolong its lease.
            if !entry.liveness.is_silent() {
                entry.last_seen = now;
                entry.away = None;
            }
            entry.liveness.heard(now);
            (entry.draining, entry.drain) = (said.draining, said.drain);
            entry.beside = beside;
            entry.notes = said.notes;
            entry.load = said.load.or_else(|| entry.load.take());
            let mut changed = (entry.health(), entry.room(), entry.away.is_some()) != before;
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

    /// Notes that another coordinator has heard from a node. False unless it is active here, as this
    /// start of it. Whether it answers this process is this one's own matter.
    pub fn heard(&self, id: &NodeId, incarnation: &str, now: Instant) -> bool {
        self.change_if(|nodes| {
            let active = nodes
                .get_mut(id)
                .filter(|entry| entry.status == LeaseStatus::Active && entry.is_start(incarnation));
            let Some(entry) = active else { return (false, false) };
            entry.last_heartbeat = UnixMillis::now();
            // As that of a node that gets no requests.
            if entry.liveness.is_silent() {
                return (true, false);
            }
            entry.last_seen = entry.last_seen.max(now);
            (true, entry.away.take().is_some())
        })
    }

    /// Takes over what another coordinator has heard a node say of itself.
    pub fn update(&self, id: &NodeId, incarnation: &str, told: &NodeEntry) {
        self.change_if(|nodes| {
            if others_size(nodes, id) + told.size > MAX_REPORTS {
                return ((), false);
            }
            let Some(entry) = nodes.get_mut(id).filter(|entry| entry.is_start(incarnation)) else {
                return ((), false);
            };
            let before = (entry.health(), entry.room());
            (entry.draining, entry.drain) = (told.draining, told.drain.clone());
            entry.beside = entry.beside(told.load.as_ref(), &told.notes);
            (entry.load, entry.notes) = (told.load.clone(), told.notes.clone());
            let mut changed = (entry.health(), entry.room()) != before;
            if entry.servers != told.servers {
                (entry.servers, entry.size) = (told.servers.clone(), told.size);
                changed = true;
            }
            ((), changed)
        });
    }

    /// Marks a node as inactive. Returns whether it is known, as this start of it.
    pub fn deregister(&self, id: &NodeId, incarnation: &str) -> bool {
        self.change(|nodes| match nodes.get_mut(id) {
            Some(entry) if entry.is_start(incarnation) => {
                entry.status = LeaseStatus::Inactive;
                entry.leave(Absence::GoodBye, UnixMillis::now(), now());
                true
            }
            _ => false,
        })
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

    /// Sets what is wrong with the servers of this process's own node. Nobody routes by it.
    pub fn set_local_notes(&self, id: &NodeId, notes: ServerNotes) {
        if let Some(entry) = self.nodes.lock().get_mut(id) {
            entry.notes = notes;
        }
    }

    /// Notes that a node drains, or that it takes sessions again.
    pub fn set_drain(&self, id: &NodeId, drain: Option<DrainReport>) {
        self.change(|nodes| {
            if let Some(entry) = nodes.get_mut(id) {
                (entry.draining, entry.drain) = (drain.is_some(), drain);
            }
        });
    }

    /// The servers of a node that no other node takes sessions of now.
    #[must_use]
    pub fn only_at(&self, id: &NodeId) -> Vec<ServerName> {
        let nodes = self.nodes.lock();
        let Some(own) = nodes.get(id) else { return Vec::new() };
        let takes = |server: &ServerName| {
            nodes.values().any(|other| {
                let is_other = other.id != *id && other.servers.contains_key(server);
                is_other && other.health().accepts() && other.room() == Room::Free
            })
        };
        own.servers.keys().filter(|server| !takes(server)).cloned().collect()
    }

    /// Marks nodes whose lease has run out as unhealthy, and returns each of them once. One that
    /// is being asked for the first time may answer yet. The servers of those that are away for too long are not listed
    /// any more.
    pub fn expire(&self, now: Instant) -> Vec<LeaseChange> {
        let timeout = self.node_timeout;
        self.change_if(|nodes| {
            let late = nodes.values_mut().filter(|entry| {
                entry.status == LeaseStatus::Active
                    && entry.reach != Reach::Local
                    && now.saturating_duration_since(entry.last_seen) > timeout
                    && (entry.liveness.is_silent() || !entry.liveness.is_asked(now))
            });
            let unhealthy = late.map(|entry| {
                entry.status = LeaseStatus::Unhealthy;
                entry.leave(Absence::Silent, entry.last_heartbeat, now);
                LeaseChange::Unhealthy {
                    id: entry.id.clone(),
                    last_heartbeat: entry.last_heartbeat,
                }
            });
            let events: Vec<LeaseChange> = unhealthy.collect();
            let mut any = !events.is_empty();
            for entry in nodes.values_mut().filter(|entry| entry.status != LeaseStatus::Active) {
                let is_listed = entry.is_listed_for(self.away_timeout, now);
                if let Some((away, _)) = &mut entry.away {
                    any |= away.is_listed != is_listed;
                    away.is_listed = is_listed;
                }
            }
            (events, any)
        })
    }

    /// Removes nodes that are not active and were last heard from more than 10 node
    /// timeouts ago, and whose servers are not listed any more.
    pub fn clean_up(&self, now: Instant) -> Vec<LeaseChange> {
        let limit = self.node_timeout.saturating_mul(FORGET_AFTER);
        self.change_if(|nodes| {
            let gone: Vec<NodeId> = nodes
                .values()
                .filter(|entry| {
                    entry.status != LeaseStatus::Active
                        && now.saturating_duration_since(entry.last_seen) > limit
                        && !entry.is_listed_for(self.away_timeout, now)
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
    pub(super) fn change_if<T>(
        &self,
        with: impl FnOnce(&mut BTreeMap<NodeId, NodeEntry>) -> (T, bool),
    ) -> T {
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
