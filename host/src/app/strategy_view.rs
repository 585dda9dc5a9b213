//! The topology in the vocabulary of the strategy contract.

use crate::model::{Health, Room, Topology};
use crate::wasm::vocabulary;

/// Translates the topology. Nodes keep their order; servers are sorted by name.
#[must_use]
pub fn of(topology: &Topology, local_zone: &str) -> vocabulary::Topology {
    let nodes = topology.nodes.iter().map(|node| vocabulary::Node {
        id: node.id.to_string(),
        health: health(node.health, node.room),
        priority: 0,
        zone: node.zone.to_string(),
        labels: node.labels.clone(),
    });
    let servers = topology.servers().into_iter().map(|server| vocabulary::Server {
        name: server.to_string(),
        replicas: topology
            .nodes
            .iter()
            .zip(0_u32..)
            .filter_map(|(node, index)| {
                let replica = node.servers.get(server)?;
                Some(vocabulary::Replica { node: index, weight: replica.weight })
            })
            .collect(),
    });
    vocabulary::Topology {
        generation: topology.generation,
        local_zone: local_zone.to_owned(),
        nodes: nodes.collect(),
        servers: servers.collect(),
    }
}

/// The health of a node. The contract has no word for room: a node without room is
/// degraded, used only if no healthy one is left, like one that failed recently.
fn health(health: Health, room: Room) -> vocabulary::Health {
    match health {
        Health::Healthy if room != Room::Free => vocabulary::Health::Degraded,
        Health::Healthy => vocabulary::Health::Healthy,
        Health::Suspect => vocabulary::Health::Degraded,
        Health::Draining => vocabulary::Health::Draining,
        Health::Silent | Health::Unhealthy | Health::Inactive => vocabulary::Health::Unhealthy,
    }
}
