//! Gives up on a node that does not answer. A hung process or a black-holed network keeps its
//! connections open, and a long call is silent too: so the coordinator asks the node itself, on
//! another connection, and this watch waits for what came of it. A node that shuts down finishes
//! what it has and closes its connections itself.
//!
//! A call of which the runner has said that it has it is given up later, with the node's lease: a
//! node that was frozen and goes on within it finishes the call.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::edge::worker::{Edge, Worker};
use crate::model::{Health, NodeId, Reach};

/// Wait for a connection, or for the head of an open's response, after which a node is asked:
/// both come at once, or do no harm if the question was for nothing.
pub const SOON: Duration = Duration::from_millis(200);
/// Wait for the head of any other response. A runner sends it within a second
/// (`streams/response.rs`), or the client takes no events.
pub const USUAL: Duration = Duration::from_secs(1);
/// Pause between two looks while the node is asked, and their number.
const CLOSE: Duration = Duration::from_millis(50);
const CLOSE_LOOKS: u32 = 40;
/// Pause between two looks later.
const LATER: Duration = Duration::from_millis(500);

/// Resolves when the node is given up.
pub struct NodeWatch {
    edge: Arc<Edge>,
    node: NodeId,
    patience: Duration,
    /// `None` until this is waited for: most exchanges are over at once, and set no timer.
    next: Option<Pin<Box<Sleep>>>,
    /// Looks that are still close.
    close: u32,
    /// How the node was reached when this was first looked at.
    reach: Option<Reach>,
    /// Whether the response's head has come.
    is_begun: bool,
}

impl NodeWatch {
    /// `patience` is how long nothing is done.
    #[must_use]
    pub fn over(worker: &Worker, node: &NodeId, patience: Duration) -> Self {
        let (edge, node) = (Arc::clone(&worker.edge), node.clone());
        Self { edge, node, patience, next: None, close: CLOSE_LOOKS, reach: None, is_begun: false }
    }

    /// Begins anew, with another patience.
    pub fn wait_for(&mut self, patience: Duration) {
        (self.patience, self.close) = (patience, CLOSE_LOOKS);
        if let Some(next) = &mut self.next {
            next.as_mut().reset(Instant::now() + patience);
        }
    }

    /// Watches on over the body of a response whose head has come.
    #[must_use]
    pub fn over_body(mut self) -> Self {
        self.wait_for(LATER);
        (self.close, self.is_begun) = (0, true);
        self
    }

    fn is_given_up(&mut self) -> bool {
        let topology = self.edge.topology.load();
        // One that has signed off may still work on what it has.
        let Some(node) = topology.node(&self.node) else { return false };
        // Another start of it, elsewhere, says nothing of the one that was asked.
        if *self.reach.get_or_insert_with(|| node.reach.clone()) != node.reach {
            return true;
        }
        match node.health {
            Health::Unhealthy => true,
            Health::Silent => !self.is_begun,
            Health::Healthy | Health::Suspect | Health::Draining | Health::Inactive => false,
        }
    }
}

impl Future for NodeWatch {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let this = &mut *self;
            let sleep = || Box::pin(tokio::time::sleep(this.patience));
            if this.next.get_or_insert_with(sleep).as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if this.is_given_up() {
                return Poll::Ready(());
            }
            let now = Instant::now();
            if !this.is_begun {
                this.edge.doubts.waits_for(&this.node, now.into_std());
            }
            this.close = this.close.saturating_sub(1);
            let pause = if this.close > 0 { CLOSE } else { LATER };
            if let Some(next) = &mut this.next {
                next.as_mut().reset(now + pause);
            }
        }
    }
}
