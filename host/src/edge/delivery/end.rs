//! Ends sessions.

use crate::edge::session::client_session::Session;
use crate::edge::worker::Worker;
use crate::protocol::seal::MAX_AGE;

use super::call::Call;
use super::outgoing::Outgoing;

impl Worker {
    /// Ends a session at every server that it has open.
    pub(in crate::edge) async fn end(&self, session: &Session) {
        // Its servers may have been opened by another coordinator.
        if let Some(sharing) = &self.edge.sharing
            && session.has_id
        {
            sharing.refresh(session.id).await;
        }
        if session.has_id {
            self.edge.records.end(session.id, session.minted_at).await;
        } else {
            self.edge.records.end_here(session.id, session.minted_at);
        }
        // Before the others hear of it: this process hears it, too, and forgets it then.
        let record = self.edge.bindings.forget(session.id);
        if let Some(sharing) = &self.edge.sharing {
            sharing.end(session.id, session.minted_at.plus(MAX_AGE)).await;
        }
        let outgoing = Outgoing::delete();
        if let Some(record) = record {
            let topology = self.edge.topology.load_full();
            let closing = record.servers.iter().filter_map(|(server, binding)| {
                let node = topology.node(&binding.node)?;
                Some(async { Call::own(self, session, server).tell(node, &outgoing).await })
            });
            futures_util::future::join_all(closing).await;
        }
    }
}
