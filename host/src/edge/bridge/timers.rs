//! The timers of requests that wait for their client's input.

use std::collections::HashMap;

use tokio::task::AbortHandle;

use crate::model::SessionId;
use crate::sync::Locked;

/// Timers that run at the same time. Beyond that, questions are left to the server's own limits.
const MOST: usize = 10_000;

/// The timers of requests that wait, by their session and first question.
#[derive(Default)]
pub struct Suspended(Locked<HashMap<(SessionId, String), AbortHandle>>);

impl Suspended {
    /// Keeps a timer, for as long as it runs.
    pub fn insert(&self, key: (SessionId, String), timer: AbortHandle) {
        let mut timers = self.0.lock();
        timers.retain(|_, timer| !timer.is_finished());
        if timers.len() < MOST {
            timers.insert(key, timer);
        } else {
            timer.abort();
        }
    }

    /// Stops a timer.
    pub fn remove(&self, session: SessionId, first: &str) {
        if let Some(timer) = self.0.lock().remove(&(session, first.to_owned())) {
            timer.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_that_has_come_back_stops_the_timer() {
        let (suspended, session) = (Suspended::default(), SessionId::mint());
        let timer = tokio::spawn(std::future::pending::<()>());
        suspended.insert((session, "a".to_owned()), timer.abort_handle());
        suspended.remove(session, "b");
        suspended.remove(session, "a");
        assert!(timer.await.unwrap_err().is_cancelled());
    }
}
