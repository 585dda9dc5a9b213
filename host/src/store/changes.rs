//! The sessions of which something has changed that other coordinators have to know.

use std::collections::HashSet;

use tokio::sync::Notify;

use crate::model::SessionId;
use crate::sync::Locked;

/// Changed sessions that are noted one by one. Beyond that all are gone through.
const MAX_CHANGED: usize = 200_000;

/// The sessions of which something has changed that others have to know.
#[derive(Default)]
pub struct Changes {
    sessions: Locked<HashSet<SessionId>>,
    /// Those that are being written.
    writing: Locked<HashSet<SessionId>>,
    noted: Notify,
}

impl Changes {
    pub(super) fn note(&self, session: SessionId) {
        let mut sessions = self.sessions.lock();
        if sessions.len() < MAX_CHANGED && sessions.insert(session) && sessions.len() == 1 {
            self.noted.notify_one();
        }
    }

    /// Takes up to this many, to be written.
    #[must_use]
    pub fn take(&self, most: usize) -> Vec<SessionId> {
        let (mut sessions, mut writing) = (self.sessions.lock(), self.writing.lock());
        let taken: Vec<SessionId> = sessions.iter().take(most).copied().collect();
        for session in &taken {
            sessions.remove(session);
            writing.insert(*session);
        }
        taken
    }

    /// Notes that all that were taken are written.
    pub fn written(&self) {
        self.writing.lock().clear();
    }

    /// Whether some were left out, so that all sessions have to be gone through.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.sessions.lock().len() >= MAX_CHANGED
    }

    /// Whether something of the session is not written yet.
    #[must_use]
    pub fn has(&self, session: SessionId) -> bool {
        self.sessions.lock().contains(&session) || self.writing.lock().contains(&session)
    }

    /// Returns when there are some.
    pub async fn some(&self) {
        while self.sessions.lock().is_empty() {
            self.noted.notified().await;
        }
    }
}
