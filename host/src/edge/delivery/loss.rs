//! When what a server held for a session is lost: the client is told, or its session
//! ends (`onLost`).

use crate::edge::rescue::Refusal;
use crate::edge::session::client_session::Session;
use crate::edge::session::get_streams::report_loss;
use crate::edge::worker::Worker;
use crate::model::ServerName;

use super::open::NodeOpened;

impl Worker {
    /// Tells the client, now or as soon as it listens.
    pub(in crate::edge) fn report_loss(&self, session: &Session, server: &ServerName) {
        self.edge.metrics.reopened();
        tracing::info!(
            session = %session.id.short(), server = %server,
            "the server was started again: what it held for the session is lost"
        );
        let is_told =
            !session.is_single_server && report_loss(&self.edge.streams, session.id, server);
        if !is_told {
            self.edge.bindings.note_unreported_loss(session.id, server);
        }
    }

    /// # Errors
    /// If the server's state is lost, and the operator does not want the session to
    /// go on without.
    pub(in crate::edge) async fn check_loss(
        &self,
        session: &Session,
        server: &ServerName,
        opening: &NodeOpened,
    ) -> Result<(), Refusal> {
        if opening.is_lost && self.ends_when_lost(server) {
            return Err(self.end_lost(session, server).await);
        }
        Ok(())
    }

    /// Whether the operator wants sessions to end rather than go on without what
    /// the server held for them (`onLost`).
    pub(in crate::edge) fn ends_when_lost(&self, server: &ServerName) -> bool {
        let topology = self.edge.topology.load();
        topology
            .replicas(server)
            .any(|node| node.servers.get(server).is_some_and(|replica| replica.ends_when_lost))
    }

    /// Ends the session; what its client is told.
    pub(in crate::edge) async fn end_lost(
        &self,
        session: &Session,
        server: &ServerName,
    ) -> Refusal {
        tracing::warn!(
            session = %session.id.short(), server = %server,
            "the session ends: its server's state is lost, and onLost is \"fail\""
        );
        self.edge.metrics.ended();
        self.end(session).await;
        Refusal::UnknownSession
    }
}
