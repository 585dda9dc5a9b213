//! Closes the instance that a session has left at a node which goes on.
//!
//! A node that is given up reports its sessions when it comes back, and what has moved is closed
//! then. One that has only failed once never reports, and its instance would live on beside the new
//! one.

use std::time::Duration;

use http::{Method, Request};

use crate::edge::worker::Worker;
use crate::model::{Epoch, Epochs, NodeId, Principal, ServerName, SessionId};
use crate::net::Body;
use crate::seam::Facts;

/// Pauses before each attempt.
const PAUSES: [Duration; 4] =
    [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(15)];
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a session has left.
pub struct LeftBehind {
    pub session: SessionId,
    pub server: ServerName,
    pub node: NodeId,
    /// The epoch of the instance that the session has now: one that is higher stays.
    pub up_to: Option<Epoch>,
}

impl LeftBehind {
    /// Closes it, in the background.
    pub fn close(self, worker: &Worker) {
        let worker = worker.clone();
        tokio::spawn(async move {
            for pause in PAUSES {
                tokio::time::sleep(pause).await;
                let asked = tokio::time::timeout(PATIENCE, self.ask(&worker)).await;
                if asked == Ok(true) {
                    return;
                }
            }
        });
    }

    /// Returns whether nothing is left to do.
    async fn ask(&self, worker: &Worker) -> bool {
        let topology = worker.edge.topology.load_full();
        let Some(node) = topology.node(&self.node).filter(|node| node.health.serves()) else {
            return true;
        };
        let mut request = Request::new(Body::Empty);
        *request.method_mut() = Method::DELETE;
        let epochs = Epochs { given: self.up_to, opened: None };
        let facts = Facts { epochs, ..Facts::of(self.session, Principal::anonymous()) };
        worker.link.call(&node.reach, &self.server, facts, request).await.is_ok()
    }
}
