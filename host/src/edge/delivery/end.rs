//! Ends sessions.

use std::time::Duration;

use crate::edge::session::client_session::{Origin, Session};
use crate::edge::worker::Worker;
use crate::model::{NodeId, ServerName, UnixMillis};
use crate::protocol::seal::MAX_AGE;

use super::call::Call;
use super::outgoing::Outgoing;

/// How long the end of a session waits for its nodes. The id is refused already, and what a silent
/// node has to hear is said on.
const PATIENCE: Duration = Duration::from_millis(500);
/// Time between two attempts to tell a node that a session has ended.
const PAUSE: Duration = Duration::from_secs(3);
/// How long a server of a session that only one request had may take to open.
const OPENING: Duration = Duration::from_secs(600);
/// Attempts. A node whose lease ends meanwhile is asked for its sessions when it comes back.
const ATTEMPTS: usize = 40;

impl Worker {
    /// Ends a session at every server that it has open.
    pub(in crate::edge) async fn end(&self, session: &Session) {
        // Its servers may have been opened by another coordinator.
        if let Some(sharing) = &self.edge.sharing
            && session.has_id
        {
            sharing.refresh(session.id).await;
        }
        let records = &self.edge.records;
        match (session.has_id, session.of_stream) {
            // Nobody can name it: its id is refused for as long as its server may still be opening.
            (false, _) if session.origin == Origin::Request => {
                let longest = UnixMillis::now().plus(OPENING).minus(MAX_AGE);
                records.end_here(session.id, longest);
            }
            (true, false) => records.end(session.id, session.minted_at).await,
            (true, true) => {
                records.end_stream(session.id, session.minted_at, session.is_large()).await;
            }
            (false, _) => records.end_here(session.id, session.minted_at),
        }
        self.edge.state.states.end(session.id).await;
        self.edge.state.outcomes.forget(session.id);
        self.edge.planned_moves.forget(session.id);
        // Before the others hear of it: this process hears it, too, and forgets it then.
        let record = self.edge.bindings.forget(session.id);
        self.edge.streams.end(session.id);
        if let Some(sharing) = &self.edge.sharing {
            sharing.end(session.id, session.minted_at.plus(MAX_AGE)).await;
        }
        let Some(record) = record else { return };
        let servers = record.servers.into_iter().map(|(server, binding)| (server, binding.node));
        let telling = servers.map(|(server, node)| {
            let (worker, session) = (self.clone(), session.clone());
            tokio::spawn(async move { worker.end_at(&session, &server, &node).await })
        });
        // The tasks go on by themselves.
        let telling = futures_util::future::join_all(telling);
        let _ = tokio::time::timeout(PATIENCE, telling).await;
    }

    /// Tells a node that the session has ended, until it has heard it.
    async fn end_at(&self, session: &Session, server: &ServerName, node: &NodeId) {
        let outgoing = Outgoing::delete();
        for _ in 0..ATTEMPTS {
            let topology = self.edge.topology.load_full();
            let Some(node) = topology.node(node).filter(|node| node.health.serves()) else {
                return;
            };
            if Call::own(self, session, server).tell(node, &outgoing).await {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
