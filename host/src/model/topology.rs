//! Who hosts what, as one immutable value.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{NodeId, Selection, ServerName};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    Healthy,
    /// Failed lately: used when nothing healthy is left.
    Suspect,
    /// Finishes what it has, takes nothing new.
    Draining,
    /// No heartbeat within the timeout.
    Unhealthy,
    /// Known, but not (or no longer) registered.
    Inactive,
}

impl Health {
    /// Whether a session that is bound here may go on here.
    #[must_use]
    pub fn serves(self) -> bool {
        matches!(self, Self::Healthy | Self::Suspect | Self::Draining)
    }

    /// Whether a new binding may be made here.
    #[must_use]
    pub fn accepts(self) -> bool {
        matches!(self, Self::Healthy | Self::Suspect)
    }
}

/// Whether a node can take more sessions. It goes on with those it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Room {
    #[default]
    Free,
    /// As many processes as it may have.
    Full,
    LowMemory,
}

/// Which nodes have said, since the start, what they hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reports {
    /// Of one node after the other, again and again.
    pub count: u64,
    /// Whether all that were known before the start have.
    pub all: bool,
}

/// How the edge gets to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// The host part of this very process.
    Local,
    /// Base URL of another process, `http://10.0.0.7:3001`.
    Remote(Arc<str>),
}

/// One server on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// Relative, 1 to 1000.
    pub weight: u32,
    /// Which catalogue the node has for it; none before its first discovery.
    pub digest: Option<Arc<str>>,
    /// Headers of the client that the operator lets through to it, in lower case.
    pub passthrough: Vec<Arc<str>>,
    /// Whether a session ends when what the server held for it is lost.
    pub ends_when_lost: bool,
    /// What the node's file hides or describes, if anything.
    pub selection: Option<Arc<Selection>>,
}

impl Replica {
    /// One of which nothing but its weight is known.
    #[must_use]
    pub fn of_weight(weight: u32) -> Self {
        Self {
            weight,
            digest: None,
            passthrough: Vec::new(),
            ends_when_lost: false,
            selection: None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub id: NodeId,
    pub name: Arc<str>,
    pub reach: Reach,
    pub health: Health,
    /// As the node has reported it.
    pub room: Room,
    pub zone: Arc<str>,
    pub labels: Vec<(String, String)>,
    pub servers: BTreeMap<ServerName, Replica>,
}

/// A snapshot of the cluster. A change makes a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    pub generation: u64,
    pub nodes: Vec<Arc<Node>>,
    selections: BTreeMap<ServerName, Arc<Selection>>,
}

impl Topology {
    #[must_use]
    pub fn empty() -> Self {
        Self::of(0, Vec::new())
    }

    #[must_use]
    pub fn of(generation: u64, nodes: Vec<Arc<Node>>) -> Self {
        let selections = selections(&nodes);
        Self { generation, nodes, selections }
    }

    /// What the files of the server's nodes hide or describe, if anything. It is
    /// the same for all of its replicas: which one a session gets is chance.
    #[must_use]
    pub fn selection(&self, server: &ServerName) -> Option<&Arc<Selection>> {
        self.selections.get(server)
    }

    #[must_use]
    pub fn node(&self, id: &NodeId) -> Option<&Arc<Node>> {
        self.nodes.iter().find(|node| node.id == *id)
    }

    /// All nodes that host the server, whatever their health.
    pub fn replicas<'a>(&'a self, server: &'a ServerName) -> impl Iterator<Item = &'a Arc<Node>> {
        self.nodes.iter().filter(move |node| node.servers.contains_key(server))
    }

    #[must_use]
    pub fn knows(&self, server: &ServerName) -> bool {
        self.replicas(server).next().is_some()
    }

    /// Distinct server names, in order.
    #[must_use]
    pub fn servers(&self) -> std::collections::BTreeSet<&ServerName> {
        self.nodes.iter().flat_map(|node| node.servers.keys()).collect()
    }
}

/// This process's own file first: its descriptions count.
fn selections(nodes: &[Arc<Node>]) -> BTreeMap<ServerName, Arc<Selection>> {
    let mut selections: BTreeMap<ServerName, Arc<Selection>> = BTreeMap::new();
    let own = nodes.iter().filter(|node| node.reach == Reach::Local);
    let others = nodes.iter().filter(|node| node.reach != Reach::Local);
    for (server, replica) in own.chain(others).flat_map(|node| &node.servers) {
        let Some(selection) = &replica.selection else { continue };
        match selections.get_mut(server) {
            Some(known) => Arc::make_mut(known).narrow(selection),
            None => {
                selections.insert(server.clone(), Arc::clone(selection));
            }
        }
    }
    selections
}
