//! The registry: leases of nodes, and the topology that follows from them.
//!
//! ```text
//!               register
//!                  │   ┌──────────── heartbeat ───────────┐
//!                  ▼   ▼                                  │
//! (unknown) ──► Active ──── no heartbeat in time ───► Unhealthy ──┐
//!                 │ ▲                                             │ 10 × node timeout
//!      deregister │ │ register                                    ▼
//!                 ▼ │                                         (unknown)
//!              Inactive ──────────────────────────────────────────▲
//! ```
//!
//! Policy only: time comes in, events go out. A suspect node is still Active; it
//! failed a request and has not been heard of since.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::cluster::messages::{LoadReport, ProtocolReport};
use crate::model::{Health, Node, NodeId, Reach, Replica, Room, ServerName, Topology, UnixMillis};

/// A dead node is forgotten after so many node timeouts.
const FORGET_AFTER: u32 = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Active,
    /// Deregistered by itself.
    Inactive,
    /// Its lease ran out.
    Unhealthy,
}

impl Status {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// One node, as the registry knows it.
#[derive(Debug, Clone)]
pub struct Entry {
    pub id: NodeId,
    pub name: String,
    /// How the coordinator reaches it; empty for its own host.
    pub url: String,
    pub host: String,
    pub port: u16,
    pub incarnation: String,
    pub version: String,
    /// Nodes of earlier versions do not say.
    pub protocol: Option<ProtocolReport>,
    pub reach: Reach,
    pub servers: BTreeMap<ServerName, Replica>,
    pub zone: String,
    pub labels: Vec<(String, String)>,
    pub heartbeat_interval: Duration,
    pub status: Status,
    pub draining: bool,
    pub suspect: bool,
    /// Nodes of earlier versions do not say.
    pub load: Option<LoadReport>,
    pub last_heartbeat: UnixMillis,
    /// The lease counts from here.
    pub last_seen: Instant,
    pub registered_at: UnixMillis,
}

impl Entry {
    /// A node heard of just now: active, and nothing known of what it may say of
    /// itself.
    #[must_use]
    pub fn new(id: NodeId, name: String, reach: Reach, host: String, port: u16) -> Self {
        let url = match &reach {
            Reach::Local => String::new(),
            Reach::Remote(url) => url.to_string(),
        };
        Self {
            id,
            name,
            url,
            host,
            port,
            incarnation: String::new(),
            version: String::new(),
            protocol: None,
            reach,
            servers: BTreeMap::new(),
            zone: String::new(),
            labels: Vec::new(),
            heartbeat_interval: Duration::ZERO,
            status: Status::Active,
            draining: false,
            suspect: false,
            load: None,
            last_heartbeat: UnixMillis::now(),
            last_seen: Instant::now(),
            registered_at: UnixMillis::now(),
        }
    }

    fn health(&self) -> Health {
        match self.status {
            Status::Inactive => Health::Inactive,
            Status::Unhealthy => Health::Unhealthy,
            Status::Active if self.draining => Health::Draining,
            Status::Active if self.suspect => Health::Suspect,
            Status::Active => Health::Healthy,
        }
    }

    fn room(&self) -> Room {
        self.load.as_ref().map(|load| load.room.into()).unwrap_or_default()
    }

    fn node(&self) -> Node {
        Node {
            id: self.id.clone(),
            name: self.name.as_str().into(),
            reach: self.reach.clone(),
            health: self.health(),
            room: self.room(),
            zone: self.zone.as_str().into(),
            labels: self.labels.clone(),
            servers: self.servers.clone(),
        }
    }
}

/// What a heartbeat says. What is absent has not changed.
#[derive(Debug, Clone, Default)]
pub struct Beat {
    pub servers: Option<BTreeMap<ServerName, Replica>>,
    pub draining: bool,
    pub load: Option<LoadReport>,
}

/// What the passing of time has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Unhealthy { id: NodeId, last_heartbeat: UnixMillis },
    Removed { id: NodeId },
}

/// Why a heartbeat is not taken: the node registers again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unknown;

pub struct Registry {
    nodes: Mutex<BTreeMap<NodeId, Entry>>,
    /// What the edge reads: changed before anybody is told.
    current: Arc<ArcSwap<Topology>>,
    topology: watch::Sender<Arc<Topology>>,
    node_timeout: Duration,
}

impl Registry {
    #[must_use]
    pub fn new(node_timeout: Duration) -> Self {
        Self {
            nodes: Mutex::default(),
            current: Arc::new(ArcSwap::from_pointee(Topology::empty())),
            topology: watch::Sender::new(Arc::new(Topology::empty())),
            node_timeout,
        }
    }

    /// The topology as it is at any moment: a node that is registered is in it.
    #[must_use]
    pub fn current(&self) -> Arc<ArcSwap<Topology>> {
        Arc::clone(&self.current)
    }

    /// The topology, whenever it changes.
    #[must_use]
    pub fn topology(&self) -> watch::Receiver<Arc<Topology>> {
        self.topology.subscribe()
    }

    /// Takes a node in, in place of what was known of it.
    pub fn register(&self, entry: Entry) {
        self.change(|nodes| {
            nodes.insert(entry.id.clone(), entry);
        });
    }

    /// Renews a lease.
    ///
    /// # Errors
    /// If the node is not known, or another start of it is.
    pub fn heartbeat(
        &self,
        id: &NodeId,
        incarnation: Option<&str>,
        said: Beat,
        now: Instant,
    ) -> Result<(), Unknown> {
        let beat = |nodes: &mut BTreeMap<NodeId, Entry>| {
            let entry = nodes.get_mut(id).ok_or(Unknown)?;
            let before = (entry.health(), entry.room());
            let same = incarnation.is_none_or(|incarnation| incarnation == entry.incarnation);
            if !same || entry.status == Status::Inactive {
                return Err(Unknown);
            }
            entry.last_heartbeat = UnixMillis::now();
            entry.last_seen = now;
            entry.status = Status::Active;
            entry.suspect = false;
            entry.draining = said.draining;
            entry.load = said.load.or_else(|| entry.load.take());
            let mut changed = (entry.health(), entry.room()) != before;
            if let Some(servers) = said.servers.filter(|servers| *servers != entry.servers) {
                entry.servers = servers;
                changed = true;
            }
            Ok(changed)
        };
        // Most heartbeats change nothing that the edge sees, and there are many.
        self.change_if(|nodes| match beat(nodes) {
            Ok(changed) => (Ok(()), changed),
            Err(unknown) => (Err(unknown), false),
        })
    }

    /// The node says good-bye. Another start of it is not concerned.
    pub fn deregister(&self, id: &NodeId, incarnation: Option<&str>) -> bool {
        self.change(|nodes| match nodes.get_mut(id) {
            Some(entry) if incarnation.is_none_or(|i| i == entry.incarnation) => {
                entry.status = Status::Inactive;
                true
            }
            _ => false,
        })
    }

    /// A request to the node failed. It is avoided until it is heard of again.
    pub fn suspect(&self, id: &NodeId) {
        self.change(|nodes| {
            if let Some(entry) = nodes.get_mut(id)
                && entry.reach != Reach::Local
            {
                entry.suspect = true;
            }
        });
    }

    /// The servers of this process's own node.
    pub fn set_local_servers(&self, id: &NodeId, servers: BTreeMap<ServerName, Replica>) {
        self.change(|nodes| {
            if let Some(entry) = nodes.get_mut(id) {
                entry.servers = servers;
            }
        });
    }

    /// What this process's own node has left.
    pub fn set_local_load(&self, id: &NodeId, load: LoadReport) {
        // As with heartbeats: it comes often and changes little.
        self.change_if(|nodes| {
            let Some(entry) = nodes.get_mut(id) else { return ((), false) };
            let before = entry.room();
            entry.load = Some(load);
            ((), entry.room() != before)
        });
    }

    /// Marks nodes whose lease has run out, once each.
    pub fn expire(&self, now: Instant) -> Vec<Event> {
        let timeout = self.node_timeout;
        self.change_if(|nodes| {
            let late = nodes.values_mut().filter(|entry| {
                entry.status == Status::Active
                    && entry.reach != Reach::Local
                    && now.saturating_duration_since(entry.last_seen) > timeout
            });
            let unhealthy = late.map(|entry| {
                entry.status = Status::Unhealthy;
                Event::Unhealthy { id: entry.id.clone(), last_heartbeat: entry.last_heartbeat }
            });
            let events: Vec<Event> = unhealthy.collect();
            let any = !events.is_empty();
            (events, any)
        })
    }

    /// Forgets nodes that have been gone for long.
    pub fn clean_up(&self, now: Instant) -> Vec<Event> {
        let limit = self.node_timeout.saturating_mul(FORGET_AFTER);
        self.change_if(|nodes| {
            let gone: Vec<NodeId> = nodes
                .values()
                .filter(|entry| {
                    entry.status != Status::Active
                        && now.saturating_duration_since(entry.last_seen) > limit
                })
                .map(|entry| entry.id.clone())
                .collect();
            for id in &gone {
                nodes.remove(id);
            }
            let any = !gone.is_empty();
            (gone.into_iter().map(|id| Event::Removed { id }).collect(), any)
        })
    }

    #[must_use]
    pub fn get(&self, id: &NodeId) -> Option<Entry> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// All known nodes, by id.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Changes the nodes and publishes what the edge sees of it, if that changed.
    fn change<T>(&self, with: impl FnOnce(&mut BTreeMap<NodeId, Entry>) -> T) -> T {
        self.change_if(|nodes| (with(nodes), true))
    }

    /// The same for what comes often and mostly changes nothing, as it says itself:
    /// what the edge sees is made of all nodes.
    fn change_if<T>(&self, with: impl FnOnce(&mut BTreeMap<NodeId, Entry>) -> (T, bool)) -> T {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let (out, may_have_changed) = with(&mut nodes);
        if !may_have_changed {
            return out;
        }
        let seen: Vec<Arc<Node>> = nodes.values().map(|entry| Arc::new(entry.node())).collect();
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
