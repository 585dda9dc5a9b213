//! A topology indexed by name and id, and the gateway's own decision without a
//! plugin.

use std::collections::HashMap;
use std::sync::Arc;

use mooring_strategies::{ConsistentHash, Strategy as _};

use super::vocabulary::{Health, Request, Topology};

/// Replica weights; others are clamped to this range, as `wit/routing.wit` says.
const WEIGHTS: std::ops::RangeInclusive<u32> = 1..=1000;

pub(super) struct Directory {
    topology: Arc<Topology>,
    ids: Vec<Arc<str>>,
    nodes: HashMap<Arc<str>, u32>,
    servers: HashMap<String, u32>,
    native: ConsistentHash,
}

/// Whether a plugin's answer can be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AnswerCheck {
    Usable,
    /// The node hosts the server, but is down, draining or excluded.
    Refused,
    /// The node does not exist or does not host the server.
    Invalid,
}

/// What the fallback decides from.
pub(super) struct Fallback<'a> {
    pub(super) server: u32,
    /// Sessions with the same key go to the same node.
    pub(super) key: Option<&'a str>,
    pub(super) affinity: Option<u32>,
    pub(super) seed: u64,
    pub(super) excluded: &'a [&'a str],
}

impl Directory {
    /// Fails if the topology is inconsistent: two nodes have one id, or a replica
    /// names a node that does not exist.
    pub(super) fn new(topology: Arc<Topology>) -> Result<Self, String> {
        let topology = clamped(topology);
        let (mut native, _) = ConsistentHash::configure("{}")?;
        native.update(&topology)?;
        let ids: Vec<Arc<str>> = topology.nodes.iter().map(|node| (*node.id).into()).collect();
        let nodes = ids.iter().cloned().zip(0..).collect();
        let servers = topology.servers.iter().map(|server| server.name.clone());
        Ok(Self { servers: servers.zip(0..).collect(), nodes, ids, native, topology })
    }

    pub(super) fn topology(&self) -> &Arc<Topology> {
        &self.topology
    }

    pub(super) fn server(&self, name: &str) -> Option<u32> {
        self.servers.get(name).copied()
    }

    pub(super) fn node(&self, id: &str) -> Option<u32> {
        self.nodes.get(id).copied()
    }

    pub(super) fn id(&self, node: u32) -> Option<&Arc<str>> {
        self.ids.get(node as usize)
    }

    pub(super) fn replicas(&self, server: u32) -> u32 {
        let server = self.topology.servers.get(server as usize);
        server.map_or(0, |server| server.replicas.len() as u32)
    }

    pub(super) fn judge(&self, server: u32, node: u32, excluded: &[&str]) -> AnswerCheck {
        let server = self.topology.servers.get(server as usize);
        let hosts = server.is_some_and(|server| server.replicas.iter().any(|r| r.node == node));
        match self.topology.nodes.get(node as usize) {
            Some(known) if hosts => {
                let alive = match known.health {
                    Health::Healthy | Health::Degraded => true,
                    Health::Draining | Health::Unhealthy => false,
                };
                if alive && !excluded.contains(&&*known.id) {
                    AnswerCheck::Usable
                } else {
                    AnswerCheck::Refused
                }
            }
            _ => AnswerCheck::Invalid,
        }
    }

    /// The gateway's own decision: the client's previous node if it is usable, else
    /// rendezvous hashing as in the built-in strategies. `None` if no replica is
    /// usable.
    pub(super) fn fall_back(&self, question: &Fallback<'_>) -> Option<u32> {
        let usable = |node: &u32| {
            let verdict = self.judge(question.server, *node, question.excluded);
            verdict == AnswerCheck::Usable
        };
        if let Some(node) = question.affinity.filter(usable) {
            return Some(node);
        }
        (0..self.replicas(question.server))
            .map_while(|attempt| {
                let request = Request {
                    server: question.server,
                    inputs: &[question.key],
                    affinity: None,
                    attempt,
                    seed: question.seed,
                    loads: None,
                };
                self.native.route(&request).ok()
            })
            .map(|decision| decision.node)
            .find(usable)
    }

    /// Whether nodes and servers have the same positions in both topologies, so that
    /// an answer for one is valid in the other.
    pub(super) fn same_positions(&self, other: &Self) -> bool {
        let servers = self.topology.servers.iter();
        self.ids == other.ids
            && self.topology.servers.len() == other.topology.servers.len()
            && servers.zip(&other.topology.servers).all(|(a, b)| {
                let nodes = |server: &super::vocabulary::Server| -> Vec<u32> {
                    server.replicas.iter().map(|replica| replica.node).collect()
                };
                a.name == b.name && nodes(a) == nodes(b)
            })
    }
}

fn clamped(mut topology: Arc<Topology>) -> Arc<Topology> {
    let replicas = topology.servers.iter().flat_map(|server| &server.replicas);
    if replicas.into_iter().all(|r| WEIGHTS.contains(&r.weight)) {
        return topology;
    }
    for server in &mut Arc::make_mut(&mut topology).servers {
        for replica in &mut server.replicas {
            replica.weight = replica.weight.clamp(*WEIGHTS.start(), *WEIGHTS.end());
        }
    }
    topology
}
