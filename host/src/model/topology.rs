//! Which nodes run which servers, as one immutable value.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{NodeId, Selection, ServerName, StatePlan, UnixMillis};

/// A node's condition, as the registry knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Registered, with its heartbeats in time.
    Healthy,
    /// Its last request failed, and it has not answered since: used if no healthy node is left.
    Suspect,
    /// Keeps its sessions, gets no new ones.
    Draining,
    /// It does not answer, although its lease has not run out.
    Silent,
    /// No heartbeat within `nodeTimeout`, and no answer.
    Unhealthy,
    /// Known, but not (or no longer) registered.
    Inactive,
}

impl Health {
    /// Whether a session that is bound to the node may go on there.
    #[must_use]
    pub fn serves(self) -> bool {
        matches!(self, Self::Healthy | Self::Suspect | Self::Draining)
    }

    /// Whether a session may be bound to the node anew.
    #[must_use]
    pub fn accepts(self) -> bool {
        matches!(self, Self::Healthy | Self::Suspect)
    }
}

/// Since when a node is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Away {
    /// When it was last known to be there.
    pub since: UnixMillis,
    /// What is known of its absence.
    pub how: Absence,
    /// Whether it is expected back so soon that clients still see its servers.
    pub is_listed: bool,
}

/// What is known of a node's absence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// A request to it failed, and no heartbeat has come since.
    Unreachable,
    /// Its heartbeats have stopped.
    Silent,
    /// It has said good-bye. Nobody knows whether it is about to be started again.
    GoodBye,
    /// It was there before this process started, and has not come back yet.
    NotBack,
}

impl Absence {
    /// What the node does, or has done, to follow "node n …" and to be followed by a time.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Unreachable => "cannot be reached since",
            Self::Silent => "has not been heard since",
            Self::GoodBye => "has signed off at",
            Self::NotBack => "has not come back since the coordinator's start at",
        }
    }

    /// The word for it in data for programs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Silent => "silent",
            Self::GoodBye => "signed-off",
            Self::NotBack => "not-back",
        }
    }
}

/// Whether a node can take more sessions. Those that it has go on in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Room {
    /// Takes more sessions.
    #[default]
    Free,
    /// Runs as many processes as it may.
    Full,
    /// Has less free memory than it must keep.
    LowMemory,
}

/// Which nodes have reported their sessions since this process started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reports {
    /// The number of reports, which may be several of one node. It makes every report a change,
    /// for requests that wait for one.
    pub count: u64,
    /// Whether no node that was known before the start still has to report.
    pub all: bool,
}

/// How the edge reaches a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// The runner of this process.
    Local,
    /// Another process, by its base URL: `http://10.0.0.7:3001`.
    Remote(Arc<str>),
}

/// One server on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// Relative to the server's other replicas, 1 to 1000.
    pub weight: u32,
    /// Identifies the node's catalog of it; `None` before its first discovery.
    pub digest: Option<Arc<str>>,
    /// Client headers that the operator passes through to it, in lower case.
    pub passthrough: Vec<Arc<str>>,
    /// Whether a session ends once its state at the server is lost; otherwise it goes on at a
    /// new instance.
    pub ends_when_lost: bool,
    /// The choices in the node's file, if it has any.
    pub selection: Option<Arc<Selection>>,
    /// Which state of the server comes along to a new instance.
    pub state: Option<Arc<StatePlan>>,
}

impl Replica {
    /// A replica with a weight and nothing else: no catalog yet, no choices.
    #[must_use]
    pub fn of_weight(weight: u32) -> Self {
        Self {
            weight,
            digest: None,
            passthrough: Vec::new(),
            ends_when_lost: false,
            selection: None,
            state: None,
        }
    }
}

/// A process that runs servers, as it was last reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Unique in the cluster.
    pub id: NodeId,
    /// For people; two nodes may have the same.
    pub name: Arc<str>,
    /// The way to it from this process.
    pub reach: Reach,
    /// Decides whether it keeps and gets sessions.
    pub health: Health,
    /// `None` while it is there, and for one whose place another node has taken.
    pub away: Option<Away>,
    /// As the node last reported it; `Free` if it has not.
    pub room: Room,
    /// From its configuration; empty if it names none.
    pub zone: Arc<str>,
    /// Keys and values from its configuration, for the strategy.
    pub labels: Vec<(String, String)>,
    /// The servers that it runs.
    pub servers: BTreeMap<ServerName, Replica>,
}

/// A snapshot of the cluster. It never changes: each change makes a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// One more than that of the snapshot before; 0 before any node is known.
    pub generation: u64,
    /// All known nodes, whatever their health.
    pub nodes: Vec<Arc<Node>>,
    selections: BTreeMap<ServerName, Arc<Selection>>,
    states: BTreeMap<ServerName, Arc<StatePlan>>,
    /// Whether the nodes are in the order of their ids, as the registry's are.
    is_sorted: bool,
}

impl Topology {
    /// Generation 0, without nodes.
    #[must_use]
    pub fn empty() -> Self {
        Self::of(0, Vec::new())
    }

    /// A snapshot of these nodes, with their choices merged for each server.
    #[must_use]
    pub fn of(generation: u64, nodes: Vec<Arc<Node>>) -> Self {
        let (selections, states) = (selections(&nodes), states(&nodes));
        let is_sorted = nodes.is_sorted_by(|a, b| a.id < b.id);
        Self { generation, nodes, selections, states, is_sorted }
    }

    /// The choices of all nodes that run the server, if there are any. They apply to every
    /// replica, so that what a client sees does not depend on its node.
    #[must_use]
    pub fn selection(&self, server: &ServerName) -> Option<&Arc<Selection>> {
        self.selections.get(server)
    }

    /// Which state of the server comes along to a new instance; one lookup for servers without.
    #[must_use]
    pub fn state_plan(&self, server: &ServerName) -> Option<&Arc<StatePlan>> {
        if self.states.is_empty() { None } else { self.states.get(server) }
    }

    /// The node with this id, whatever its health.
    #[must_use]
    pub fn node(&self, id: &NodeId) -> Option<&Arc<Node>> {
        // Every message of a bound session asks, among up to thousands of nodes.
        if self.is_sorted {
            let found = self.nodes.binary_search_by(|node| node.id.cmp(id));
            return found.ok().and_then(|at| self.nodes.get(at));
        }
        self.nodes.iter().find(|node| node.id == *id)
    }

    /// All nodes that run the server, whatever their health.
    pub fn replicas<'a>(&'a self, server: &'a ServerName) -> impl Iterator<Item = &'a Arc<Node>> {
        self.nodes.iter().filter(move |node| node.servers.contains_key(server))
    }

    /// The nodes that are away, whose server clients still see. None while a node serves it.
    pub fn away_with<'a>(
        &'a self,
        server: &'a ServerName,
    ) -> impl Iterator<Item = (&'a Arc<Node>, Away)> {
        let is_served = self.replicas(server).any(|node| node.health.serves());
        let replicas = self.replicas(server).filter(move |_| !is_served);
        replicas.filter_map(|node| Some((node, node.away.filter(|away| away.is_listed)?)))
    }

    /// Whether a session ends when the state that this server holds for it is lost.
    #[must_use]
    pub fn ends_when_lost(&self, server: &ServerName) -> bool {
        self.replicas(server)
            .any(|node| node.servers.get(server).is_some_and(|replica| replica.ends_when_lost))
    }

    /// Whether any node runs the server, whatever its health.
    #[must_use]
    pub fn knows(&self, server: &ServerName) -> bool {
        self.replicas(server).next().is_some()
    }

    /// The names of all servers, each once, in order.
    #[must_use]
    pub fn servers(&self) -> std::collections::BTreeSet<&ServerName> {
        self.nodes.iter().flat_map(|node| node.servers.keys()).collect()
    }
}

/// The plan for each server: that of this process's file, or else of the first node that has one.
fn states(nodes: &[Arc<Node>]) -> BTreeMap<ServerName, Arc<StatePlan>> {
    let own = nodes.iter().filter(|node| node.reach == Reach::Local);
    let others = nodes.iter().filter(|node| node.reach != Reach::Local);
    let mut states = BTreeMap::new();
    for (server, replica) in own.chain(others).flat_map(|node| &node.servers) {
        if let Some(plan) = &replica.state
            && !states.contains_key(server)
        {
            states.insert(server.clone(), Arc::clone(plan));
        }
    }
    states
}

/// Merges the choices of all nodes. Those of this process's file come first, so that its
/// descriptions count.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_found_in_any_order() {
        let node = |name: &str| {
            Arc::new(Node {
                id: NodeId::parse(name).unwrap(),
                name: name.into(),
                reach: Reach::Local,
                health: Health::Healthy,
                away: None,
                room: Room::Free,
                zone: "".into(),
                labels: Vec::new(),
                servers: BTreeMap::new(),
            })
        };
        for names in [["a", "b", "c"], ["c", "a", "b"]] {
            let topology = Topology::of(1, names.map(node).to_vec());
            for name in names {
                let found = topology.node(&NodeId::parse(name).unwrap());
                assert_eq!(found.map(|node| node.id.as_str()), Some(name), "{names:?}");
            }
            assert!(topology.node(&NodeId::parse("bb").unwrap()).is_none());
        }
    }
}
