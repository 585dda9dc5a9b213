//! Refuses requests for a server whose nodes are all away.

use crate::edge::absent_server::AbsentServer;
use crate::edge::refusal::Refusal;
use crate::edge::worker::Edge;
use crate::model::{Absence, Away, NodeId, ServerName, UnixMillis};

use super::tried::Tried;

impl Edge {
    /// The refusal of a request for a server of which every node is away. `None` if one is there, or
    /// if no node with it is known.
    #[must_use]
    pub fn absent(&self, server: &ServerName) -> Option<Refusal> {
        self.absent_beside(server, &Tried::default())
    }

    /// The same; nodes that could not be reached just now are away, too.
    #[must_use]
    pub fn absent_beside(&self, server: &ServerName, tried: &Tried) -> Option<Refusal> {
        let topology = self.topology.load();
        let now = Away { since: UnixMillis::now(), how: Absence::Unreachable, is_listed: true };
        let nodes = topology.replicas(server).map(|node| {
            let is_unreached = tried.unreached.contains(&node.id);
            if node.health.serves() && !is_unreached {
                return None;
            }
            Some((node.id.clone(), node.away.unwrap_or(now)))
        });
        let nodes: Vec<(NodeId, Away)> = nodes.collect::<Option<_>>()?;
        (!nodes.is_empty()).then(|| Refusal::Absent(Box::new(AbsentServer::of(server, nodes))))
    }
}
