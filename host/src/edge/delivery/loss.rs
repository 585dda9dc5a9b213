//! What happens when the state that a server held for a session is lost: the client is notified,
//! or its session ends (`onLost`).

use crate::edge::refusal::Refusal;
use crate::edge::session::client_session::Origin;
use crate::edge::session::{get_streams, notice};

use super::call::Call;
use super::open::NodeOpened;

impl Call<'_> {
    /// Notifies the client, now or as soon as it listens.
    pub fn report_loss(&self) {
        let (edge, session) = (&self.worker.edge, self.session);
        edge.metrics.reopened();
        let short = session.id.short();
        let restored = edge.state.outcomes.get(session.id, self.server);
        let what = restored.map_or_else(
            || "what it held for the session is lost".to_owned(),
            |restored| restored.words(),
        );
        let left = edge.planned_moves.get(session.id, self.server);
        let happened = notice::happened(left.as_ref());
        tracing::debug!(session = %short, server = %self.server, "{happened}: {what}");
        if let Some(others) = edge.metrics.lost.line() {
            tracing::info!(
                session = %short, server = %self.server, others,
                "the server {happened}: {what}"
            );
        }
        // The client of a conversation is told with its next result.
        let is_reported = !session.is_single_server
            && session.origin == Origin::Client
            && get_streams::report_loss(
                &edge.streams,
                session.id,
                edge.loss_notice(session.id, self.server),
            );
        if !is_reported {
            edge.bindings.note_unreported_loss(session.id, self.server);
            if let Some(sharing) = &edge.sharing {
                let text = edge.loss_text(session.id, self.server);
                sharing.tell_loss(session.id, self.server, text.as_deref());
            }
        }
    }

    /// Ends the session if the server's state is lost and `onLost` demands it.
    ///
    /// # Errors
    /// If the session was ended.
    pub async fn check_loss(&self, opened: &NodeOpened) -> Result<(), Refusal> {
        if opened.is_lost && self.ends_when_lost() {
            return Err(self.end_lost().await);
        }
        Ok(())
    }

    /// Whether `onLost` demands that a session ends when the server's state is lost.
    #[must_use]
    pub fn ends_when_lost(&self) -> bool {
        self.worker.edge.topology.load().ends_when_lost(self.server)
    }

    /// The same before anything of its state was tried to be brought back.
    #[must_use]
    pub fn ends_at_once(&self) -> bool {
        self.ends_when_lost() && self.state_plan().is_none()
    }

    /// Ends the session. Returns the refusal for its client.
    pub async fn end_lost(&self) -> Refusal {
        let (metrics, short) = (&self.worker.edge.metrics, self.session.id.short());
        tracing::debug!(session = %short, server = %self.server, "ends: the state is lost");
        if let Some(others) = metrics.ended_lost.line() {
            tracing::warn!(
                session = %short, server = %self.server, others,
                "the session ends: its server's state is lost, and onLost is \"fail\""
            );
        }
        metrics.ended();
        self.worker.end(self.session).await;
        Refusal::UnknownSession
    }
}
