//! Announces that a server was opened, or opened again, for a session: from then on it has a
//! stream to listen to.

use std::collections::HashMap;

use tokio::sync::watch;

use crate::model::SessionId;
use crate::sync::Locked;

/// Entries from which a full table drops those without listeners before it grows.
const SWEEP_AT: usize = 64;

/// A count of openings for each session that has listeners in this process.
#[derive(Default)]
pub struct OpenedServers(Locked<HashMap<SessionId, watch::Sender<u64>>>);

impl OpenedServers {
    /// A count that grows whenever a server is opened for the session.
    #[must_use]
    pub fn watch(&self, session: SessionId) -> watch::Receiver<u64> {
        let mut sessions = self.0.lock();
        if sessions.len() >= SWEEP_AT && sessions.len() == sessions.capacity() {
            sessions.retain(|_, count| count.receiver_count() > 0);
        }
        sessions.entry(session).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    /// Notes that a server was opened for the session.
    pub fn opened(&self, session: SessionId) {
        let mut sessions = self.0.lock();
        let Some(count) = sessions.get(&session) else { return };
        if count.receiver_count() == 0 {
            sessions.remove(&session);
        } else {
            count.send_modify(|count| *count += 1);
        }
    }
}
