//! Warnings about replicas of one server that differ, and about what they do not get.

use std::collections::{BTreeMap, HashSet};

use http::HeaderName;

use crate::edge::EdgeConfig;
use crate::model::{Reach, Topology, USER_TOKEN};
use crate::protocol::passthrough;

/// Warnings that are remembered. Nodes can cause any number; beyond this, they may be repeated.
const MAX_SAID: usize = 1000;

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
                self.warn_once(text);
            }
        }
    }

    /// Warns once of each credential that a node asks for and that the file does not let pass.
    pub fn warn_of_withheld(&mut self, topology: &Topology, config: &EdgeConfig) {
        for node in topology.nodes.iter().filter(|node| node.reach != Reach::Local) {
            for (server, replica) in &node.servers {
                let is_withheld = |name: &&HeaderName| {
                    let named = config.credentials.get(server);
                    passthrough::is_credential(name)
                        && *name != USER_TOKEN
                        && !named.is_some_and(|names| names.contains(name))
                };
                let logs_in = replica.passthrough.iter().any(|name| **name == *USER_TOKEN);
                if logs_in && !config.logins.contains_key(server) {
                    self.warn_once(format!(
                        "node {} runs server {server}, at which each user logs in, and gets no tokens: \
                         add its entry to this coordinator's file, with \"enabled\": false",
                        node.id
                    ));
                }
                let wanted: Vec<HeaderName> =
                    replica.passthrough.iter().filter_map(|name| name.parse().ok()).collect();
                for name in wanted.iter().filter(is_withheld) {
                    self.warn_once(format!(
                        "node {} asks for the clients' {name} header for server {server}, and does \
                         not get it; to let it pass, add {name} under {server} to \
                         systemConfig.cluster.coordinator.passthroughHeaders",
                        node.id
                    ));
                }
            }
        }
    }

    fn warn_once(&mut self, text: String) {
        if self.said.len() >= MAX_SAID {
            self.said.clear();
        }
        if self.said.insert(text.clone()) {
            tracing::warn!("{text}");
        }
    }
}
