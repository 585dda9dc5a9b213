//! Sessions that remote servers have ended while nothing of them was under way: after idle time, or
//! to make room. Their next message opens them again, and nothing has to be told to the client: its
//! settings are restored, and no call was lost.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::model::{ServerName, SessionId};
use crate::sync::{Locked, now, since};

/// How long a session is remembered: the message that found it ended opens it again at once.
const KEPT: Duration = Duration::from_secs(600);
/// Most sessions that are remembered. Of another one the client is told that its state is lost.
const MOST: usize = 10_000;

/// The sessions, and when they were found ended.
#[derive(Default)]
pub struct Renewals(Locked<HashMap<(SessionId, ServerName), Instant>>);

impl Renewals {
    /// Remembers that the server has ended the session quietly.
    pub fn note(&self, key: &(SessionId, ServerName)) {
        let mut ended = self.0.lock();
        if ended.len() >= MOST {
            ended.retain(|_, ended| since(*ended) < KEPT);
        }
        if ended.len() < MOST {
            ended.insert(key.clone(), now());
        }
    }

    /// Whether this opening renews such a session; forgets it.
    pub fn take(&self, key: &(SessionId, ServerName)) -> bool {
        self.0.lock().remove(key).is_some_and(|ended| since(ended) < KEPT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_renewed_once_and_their_number_is_bounded() {
        let renewals = Renewals::default();
        let server = ServerName::parse("s").unwrap();
        let key = || (SessionId::mint(), server.clone());
        let first = key();
        renewals.note(&first);
        assert!(renewals.take(&first) && !renewals.take(&first) && !renewals.take(&key()));
        (0..2 * MOST).for_each(|_| renewals.note(&key()));
        assert_eq!(renewals.0.lock().len(), MOST);
    }
}
