//! Limits the sessions of one principal. A session is counted before it begins, and uncounted
//! if it then fails to begin.

use crate::edge::refusal::Refusal;
use crate::edge::session::client_session::Session;
use crate::edge::worker::Worker;
use crate::model::Principal;

/// A session that is counted while it begins. Unless it is marked to stay, dropping this uncounts
/// it, and ends the servers that were opened for it.
#[must_use]
pub struct CountedSession {
    worker: Worker,
    session: Session,
    stays: bool,
}

impl CountedSession {
    /// Marks the session as begun: it stays counted until it ends.
    pub fn stays(mut self) {
        self.stays = true;
    }
}

impl Drop for CountedSession {
    fn drop(&mut self) {
        if self.stays {
            return;
        }
        let bindings = &self.worker.edge.bindings;
        let record = bindings.record(self.session.id);
        if record.is_none_or(|record| record.servers.is_empty()) {
            bindings.forget(self.session.id);
            return;
        }
        // The client has left while its server was being opened.
        let (worker, session) = (self.worker.clone(), self.session.clone());
        tokio::spawn(async move { worker.end(&session).await });
    }
}

impl Worker {
    /// Counts a session that is about to begin.
    pub(in crate::edge) fn admit_session(
        &self,
        session: &Session,
    ) -> Result<CountedSession, Refusal> {
        let limit = self.edge.config.sessions_per_principal;
        if !self.edge.bindings.admit(session.id, &session.principal, limit) {
            return Err(Refusal::TooManySessions(limit));
        }
        Ok(CountedSession { worker: self.clone(), session: session.clone(), stays: false })
    }

    /// Whether a session of this principal could begin now.
    pub(in crate::edge) fn require_room_for(&self, principal: &Principal) -> Result<(), Refusal> {
        let limit = self.edge.config.sessions_per_principal;
        match self.edge.bindings.of_principal(principal) < limit {
            true => Ok(()),
            false => Err(Refusal::TooManySessions(limit)),
        }
    }
}
