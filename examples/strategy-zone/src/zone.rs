//! Near before far, uncrowded before crowded.
//!
//! A node is *near* if it is in the gateway's own zone, and *crowded* if it
//! holds its fair share of the server's sessions and a quarter more. Sessions
//! spill over to other zones only when every near node is crowded. What is left
//! is decided by the session's own order of the nodes, a hash of both, so that
//! all gateways and all instances agree without talking.

use std::cmp::Reverse;

use serde::Deserialize;

use crate::bindings::mooring::routing::types::{
    AffinityAction, Carrier, Decision, Health, Input, Node, Plan, Request, RouteError, Topology,
};

/// What a user may write in `stickySession`, beside what the gateway reads.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Settings {
    /// Name of a node label that says where a node is, instead of its zone.
    zone_label: Option<String>,
    /// A node is crowded from this multiple of the average on.
    load_factor: f64,
    /// In milliseconds.
    affinity_timeout: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            zone_label: None,
            load_factor: 1.25,
            affinity_timeout: 3_600_000,
        }
    }
}

pub struct Zone {
    settings: Settings,
    /// By position in `topology.servers`.
    servers: Vec<Vec<Candidate>>,
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    node: u32,
    id_hash: u64,
    /// A smaller one comes first, whatever the session and the load.
    tier: (Degraded, u32),
    far: bool,
}

type Degraded = bool;

impl Zone {
    pub fn configure(config_json: &str) -> Result<(Self, Plan), String> {
        let settings: Settings =
            serde_json::from_str(config_json).map_err(|error| error.to_string())?;
        if !(1.0..=100.0).contains(&settings.load_factor) {
            return Err(format!(
                "loadFactor must be from 1 to 100, but is {}",
                settings.load_factor
            ));
        }
        let plan = Plan {
            inputs: vec![Input::SessionId],
            carrier: Carrier::Session,
            affinity_ttl_seconds: settings.affinity_timeout.div_ceil(1000).max(1),
            wants_loads: true,
        };
        let servers = Vec::new();
        Ok((Self { settings, servers }, plan))
    }

    /// Returns how many nodes are near.
    pub fn update(&mut self, topology: Topology) -> Result<usize, String> {
        let home = topology.local_zone.as_str();
        let is_far = |node: &Node| home.is_empty() || self.zone_of(node) != home;
        let mut servers = Vec::with_capacity(topology.servers.len());
        for server in &topology.servers {
            let mut candidates = Vec::with_capacity(server.replicas.len());
            for replica in &server.replicas {
                let node = topology
                    .nodes
                    .get(replica.node as usize)
                    .ok_or_else(|| format!("{}: no node {}", server.name, replica.node))?;
                let degraded = match node.health {
                    Health::Healthy => false,
                    Health::Degraded => true,
                    Health::Draining | Health::Unhealthy => continue,
                };
                candidates.push(Candidate {
                    node: replica.node,
                    id_hash: fnv1a(&node.id),
                    tier: (degraded, node.priority),
                    far: is_far(node),
                });
            }
            servers.push(candidates);
        }
        let near = topology.nodes.iter().filter(|node| !is_far(node)).count();
        self.servers = servers;
        Ok(near)
    }

    pub fn route(&self, request: &Request) -> Result<Decision, RouteError> {
        let candidates = self.servers.get(request.server as usize);
        let candidates = candidates.ok_or(RouteError::NoCandidate)?;
        let key = match request.inputs.first() {
            Some(Some(session)) => fnv1a(session),
            _ => request.seed,
        };
        let loads = request.loads.as_deref().unwrap_or_default();
        let capacity = capacity(candidates, loads, self.settings.load_factor);

        let mut order: Vec<_> = candidates.iter().collect();
        order.sort_by_key(|candidate| {
            let crowded = load(candidate, loads) >= capacity;
            let draw = mix(key ^ candidate.id_hash);
            (candidate.tier, crowded, candidate.far, Reverse(draw))
        });
        // A later attempt gets the next candidate: the ones before refused or failed.
        let chosen = order.get(request.attempt as usize);
        let chosen = chosen.ok_or(RouteError::NoCandidate)?;
        Ok(Decision {
            node: chosen.node,
            affinity: AffinityAction::Keep,
        })
    }

    fn zone_of<'a>(&self, node: &'a Node) -> &'a str {
        match &self.settings.zone_label {
            None => &node.zone,
            Some(label) => {
                let found = node.labels.iter().find(|(key, _)| key == label);
                found.map_or("", |(_, value)| value)
            }
        }
    }
}

/// Sessions that a node may hold: its share of all, this one included, times the
/// factor, rounded up, as in "Consistent Hashing with Bounded Loads".
fn capacity(candidates: &[Candidate], loads: &[u32], factor: f64) -> u32 {
    let held: u64 = candidates.iter().map(|c| u64::from(load(c, loads))).sum();
    let share = (held + 1) as f64 / candidates.len().max(1) as f64;
    (share * factor).ceil() as u32
}

fn load(candidate: &Candidate, loads: &[u32]) -> u32 {
    loads.get(candidate.node as usize).copied().unwrap_or(0)
}

/// FNV-1a: written out, because a library's hash may change and move sessions.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Spreads every bit over all others: the finalizer of SplitMix64.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests;
