//! Tells listeners of a session that one of its servers has been opened (again):
//! there is something to listen to.

use std::collections::HashMap;

use tokio::sync::watch;

use crate::model::SessionId;
use crate::sync::Locked;

/// Entries at which those without listeners are swept out.
const SWEEP_AT: usize = 64;

#[derive(Default)]
pub struct OpenedServers(Locked<HashMap<SessionId, watch::Sender<u64>>>);

impl OpenedServers {
    /// Counts openings of the session's servers.
    #[must_use]
    pub fn watch(&self, session: SessionId) -> watch::Receiver<u64> {
        let mut sessions = self.0.lock();
        if sessions.len() >= SWEEP_AT && sessions.len() == sessions.capacity() {
            sessions.retain(|_, count| count.receiver_count() > 0);
        }
        sessions.entry(session).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

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
