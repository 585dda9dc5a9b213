//! The agents of a node: one for each of its coordinators.

use std::sync::Arc;

use tokio::sync::{Notify, watch};

use crate::sync::Watcher;

use super::agent::Agent;
use super::membership::Joined;

/// The agents of one node.
pub struct Agents {
    pub agents: Vec<Agent>,
    /// Notified by a request to join.
    pub join: Arc<Notify>,
    pub joined: watch::Receiver<Joined>,
}

impl Agents {
    /// Keeps the node registered until `stop`, then deregisters it everywhere. Unless `at_once`, it
    /// first waits for `join`.
    pub async fn run(self, at_once: bool, mut stop: Watcher) {
        if !at_once {
            tracing::info!("not registering until POST /api/cluster/join (or: mooring join)");
            tokio::select! {
                () = self.join.notified() => {}
                () = stop.raised() => return,
            }
        }
        let running = self.agents.into_iter().map(|agent| agent.run(stop.clone()));
        futures_util::future::join_all(running).await;
    }
}
