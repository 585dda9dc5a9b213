//! Gives up on a node that has died. A hung process or a black-holed network keeps its
//! connections open; only missing heartbeats show it. A node that shuts down finishes what it
//! has and closes its connections itself.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::{Instant, Sleep};

use crate::edge::worker::Worker;
use crate::model::{Health, NodeId, Topology};

/// Time between two checks of the node's health; leases of nodes are longer.
const CHECK: Duration = Duration::from_millis(500);

/// Resolves when the node is unhealthy.
pub struct NodeWatch {
    topology: Arc<ArcSwap<Topology>>,
    node: NodeId,
    next: Pin<Box<Sleep>>,
}

impl NodeWatch {
    #[must_use]
    pub fn over(worker: &Worker, node: &NodeId) -> Self {
        let topology = Arc::clone(&worker.edge.topology);
        Self { topology, node: node.clone(), next: Box::pin(tokio::time::sleep(CHECK)) }
    }
}

impl Future for NodeWatch {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        while this.next.as_mut().poll(cx).is_ready() {
            let topology = this.topology.load();
            if topology.node(&this.node).is_some_and(|node| node.health == Health::Unhealthy) {
                return Poll::Ready(());
            }
            this.next.as_mut().reset(Instant::now() + CHECK);
        }
        Poll::Pending
    }
}
