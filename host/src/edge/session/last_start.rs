//! What is kept of the last start of each session's server, for the notice to its client.

use std::collections::HashMap;

use crate::model::{ServerName, SessionId};
use crate::sync::Locked;

/// Starts of which something is kept. Of more, any other one is told as a fresh start.
const MAX_KEPT: usize = 10_000;

pub struct LastStarts<T>(Locked<HashMap<(SessionId, ServerName), T>>);

impl<T> Default for LastStarts<T> {
    fn default() -> Self {
        Self(Locked::default())
    }
}

impl<T: Clone> LastStarts<T> {
    /// Keeps this in place of what was kept before, or nothing.
    pub fn keep(&self, session: SessionId, server: &ServerName, kept: Option<T>) {
        let mut all = self.0.lock();
        let Some(kept) = kept else {
            if !all.is_empty() {
                all.remove(&(session, server.clone()));
            }
            return;
        };
        if all.len() >= MAX_KEPT
            && let Some(other) = all.keys().next().cloned()
        {
            all.remove(&other);
        }
        all.insert((session, server.clone()), kept);
    }

    #[must_use]
    pub fn get(&self, session: SessionId, server: &ServerName) -> Option<T> {
        let all = self.0.lock();
        if all.is_empty() { None } else { all.get(&(session, server.clone())).cloned() }
    }

    /// Forgets those of a session.
    pub fn forget(&self, session: SessionId) {
        let mut all = self.0.lock();
        if !all.is_empty() {
            all.retain(|(of, _), _| *of != session);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_counts_and_many_are_bounded() {
        let starts = LastStarts::default();
        let (server, session) = (ServerName::parse("s").unwrap(), SessionId::mint());
        starts.keep(session, &server, Some("a"));
        assert_eq!(starts.get(session, &server), Some("a"));
        starts.keep(session, &server, None);
        assert_eq!(starts.get(session, &server), None);
        starts.keep(session, &server, Some("b"));
        starts.forget(session);
        assert_eq!(starts.get(session, &server), None);
        for _ in 0..MAX_KEPT + 5 {
            starts.keep(SessionId::mint(), &server, Some("c"));
        }
        assert_eq!(starts.0.lock().len(), MAX_KEPT);
    }
}
