//! How much the catalogs of one node may take in memory: they are what the node says they are.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::Instant;

use crate::model::{NodeId, ServerName, Topology};
use crate::protocol::catalog::Catalog;
use crate::protocol::methods::List;
use crate::sync::Locked;

/// Bytes of all catalogs of another node, for all its servers and sets of client capabilities.
pub const NODE_CATALOGS: usize = 64 << 20;
/// Bytes that an entry takes beside its text.
const EACH: usize = 128;
/// Least time between two warnings.
const PAUSE: Duration = Duration::from_secs(60);

/// Lets the catalogs of one node in one after the other, so that together they keep to a bound.
#[derive(Default)]
pub struct NodeBudgets {
    turns: Locked<HashMap<NodeId, Arc<Mutex<()>>>>,
    warned: Locked<Option<Instant>>,
}

impl NodeBudgets {
    /// Waits until no other catalog of this node is being read.
    pub async fn turn(&self, node: &NodeId) -> OwnedMutexGuard<()> {
        let turn = Arc::clone(self.turns.lock().entry(node.clone()).or_default());
        turn.lock_owned().await
    }

    /// Says, once in a while, that a catalog is not shown.
    pub fn warn(&self, node: &NodeId, server: &ServerName) {
        let mut warned = self.warned.lock();
        if warned.is_none_or(|at| at.elapsed() > PAUSE) {
            *warned = Some(Instant::now());
            tracing::warn!(
                %node, %server,
                "the server's lists are not read: with them, the catalogs of its node would take \
                 more than {NODE_CATALOGS} bytes"
            );
        }
    }

    /// Forgets nodes that are gone.
    pub fn prune(&self, topology: &Topology) {
        self.turns.lock().retain(|node, _| topology.node(node).is_some());
    }
}

/// Bytes that a catalog takes, about.
#[must_use]
pub fn size_of(catalog: &Catalog) -> usize {
    let entries = List::ALL.into_iter().flat_map(|list| catalog.items(list));
    catalog.initialize.get().len() + entries.map(|entry| EACH + entry.get().len()).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_count_whatever_they_hold() {
        let entries = vec!["{}"; 1000].join(",");
        let json = format!(r#"{{"initialize": {{}}, "tools": [{entries}]}}"#);
        let catalog = Catalog::from_json(json.as_bytes()).unwrap();
        assert!(size_of(&catalog) > 100_000, "{} bytes", size_of(&catalog));
    }
}
