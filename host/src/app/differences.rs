//! Warnings about replicas of one server that differ.

use std::collections::{BTreeMap, HashSet};

use crate::model::Topology;

/// Remembers which warnings were logged, so that each is logged once.
#[derive(Debug, Default)]
pub struct Differences {
    said: HashSet<String>,
}

impl Differences {
    /// Warns once of each server whose replicas have different catalogs: a session
    /// that fails over would find other tools.
    pub fn warn_of(&mut self, topology: &Topology) {
        for server in topology.servers() {
            let mut nodes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
            for node in topology.replicas(server).filter(|node| node.health.accepts()) {
                let digest = node.servers.get(server).and_then(|replica| replica.digest.as_deref());
                if let Some(digest) = digest {
                    nodes.entry(digest).or_default().push(node.id.as_str());
                }
            }
            if nodes.len() > 1 {
                let sides: Vec<String> = nodes.values().map(|ids| ids.join(", ")).collect();
                let text = format!(
                    "replicas of server {server} differ between nodes {}: their tools or versions \
                     are not the same; run the same server on all nodes",
                    sides.join(" and ")
                );
                if self.said.insert(text.clone()) {
                    tracing::warn!("{text}");
                }
            }
        }
    }
}
