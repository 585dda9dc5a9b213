//! Whether a node that should answer is still there. A process that hangs, or a
//! network that swallows, keeps its connections: only its missing heartbeats tell.
//! A node that has taken its leave finishes what it has, and closes them itself.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{Request, Response};
use tokio::time::{Instant, Sleep};

use crate::edge::worker::Worker;
use crate::model::{Health, Node, NodeId, Reach, ServerName, Topology};
use crate::net::{Body, Failure, is_event_stream};
use crate::seam::Facts;

/// How often it is looked; leases of nodes are longer.
const LOOK: Duration = Duration::from_millis(500);

/// Resolves when the node has been given up.
struct NodeWatch {
    topology: Arc<ArcSwap<Topology>>,
    node: NodeId,
    next: Pin<Box<Sleep>>,
}

impl NodeWatch {
    fn over(worker: &Worker, node: &NodeId) -> Self {
        let topology = Arc::clone(&worker.edge.topology);
        Self { topology, node: node.clone(), next: Box::pin(tokio::time::sleep(LOOK)) }
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
            this.next.as_mut().reset(Instant::now() + LOOK);
        }
        Poll::Pending
    }
}

impl Worker {
    /// One exchange with a replica; it breaks when the replica's node is given up.
    pub(in crate::edge) async fn call(
        &self,
        node: &Node,
        server: &ServerName,
        facts: Facts,
        request: Request<Body>,
    ) -> Result<Response<Body>, Failure> {
        if node.reach == Reach::Local {
            return Ok(self.link.here(server, facts, request).await);
        }
        // Boxed, so that calls in this process do not carry it about.
        Box::pin(self.call_far(node, server, facts, request)).await
    }

    async fn call_far(
        &self,
        node: &Node,
        server: &ServerName,
        facts: Facts,
        request: Request<Body>,
    ) -> Result<Response<Body>, Failure> {
        let response = tokio::select! {
            biased;
            answered = self.link.call(&node.reach, server, facts, request) => answered?,
            () = NodeWatch::over(self, &node.id) => {
                return Err(Failure::Broken(format!("node {} sends no heartbeats", node.id)));
            }
        };
        if !is_event_stream(&response) {
            return Ok(response);
        }
        let vigil = NodeWatch::over(self, &node.id);
        Ok(response.map(|body| body.broken_when(vigil)))
    }
}
