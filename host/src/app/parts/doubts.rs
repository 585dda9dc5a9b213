//! Nodes of which the edge has doubts.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::cluster::Registry;
use crate::edge;
use crate::model::NodeId;
use crate::sync::now;

/// Nodes of which there is doubt, to be asked whether they are there.
pub type Doubted = mpsc::UnboundedReceiver<NodeId>;

/// What the edge reports its doubts to. A node that has failed is avoided from that moment on.
pub fn doubts(registry: &Arc<Registry>) -> (edge::Doubts, Doubted) {
    let (sender, doubted) = mpsc::unbounded_channel();
    let registry = Arc::clone(registry);
    let report = move |node: &NodeId, broke: Option<&str>| {
        if let Some(why) = broke
            && registry.suspect(node, now())
        {
            tracing::warn!(
                node = %node,
                "a request to the node failed: it is avoided until it answers: {why}"
            );
        }
        // Nobody receives it where there are no other nodes.
        let _ = sender.send(node.clone());
    };
    (edge::Doubts::new(report), doubted)
}
