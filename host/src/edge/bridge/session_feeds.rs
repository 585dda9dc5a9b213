//! Which inner sessions are listened to, and for how many clients.

use std::collections::HashMap;

use bytes::Bytes;
use tokio::sync::broadcast;

use crate::model::SessionId;
use crate::sync::Locked;

/// The feeds of sessions of which a client listens, and how many want each resource.
#[derive(Default)]
pub struct SessionFeeds {
    pub(super) open: Locked<HashMap<SessionId, broadcast::Sender<Bytes>>>,
    wanted: Locked<HashMap<(SessionId, String), usize>>,
}

impl SessionFeeds {
    /// Hands a notification to the clients that listen to the session, if any do here.
    pub fn hear(&self, session: SessionId, message: &Bytes) {
        if let Some(sender) = self.open.lock().get(&session) {
            let _ = sender.send(message.clone());
        }
    }

    /// One more client wants to hear of a resource. True for the first.
    pub fn wants(&self, session: SessionId, uri: &str) -> bool {
        let mut wanted = self.wanted.lock();
        let count = wanted.entry((session, uri.to_owned())).or_default();
        *count += 1;
        *count == 1
    }

    /// One client less does. True for the last.
    pub fn wants_no_more(&self, session: SessionId, uri: &str) -> bool {
        let mut wanted = self.wanted.lock();
        let key = (session, uri.to_owned());
        let Some(count) = wanted.get_mut(&key) else { return false };
        *count = count.saturating_sub(1);
        if *count == 0 {
            wanted.remove(&key);
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notification_reaches_those_who_listen_to_its_session() {
        let (feeds, session) = (SessionFeeds::default(), SessionId::mint());
        let (sender, mut receiver) = broadcast::channel(4);
        feeds.open.lock().insert(session, sender);
        feeds.hear(session, &Bytes::from_static(b"a"));
        feeds.hear(SessionId::mint(), &Bytes::from_static(b"b"));
        assert_eq!(receiver.try_recv().unwrap(), "a");
        assert!(receiver.try_recv().is_err());
    }

    #[test]
    fn a_resource_is_subscribed_to_once_and_left_once() {
        let (feeds, session) = (SessionFeeds::default(), SessionId::mint());
        assert!(feeds.wants(session, "a"));
        assert!(!feeds.wants(session, "a"));
        assert!(feeds.wants(SessionId::mint(), "a"));
        assert!(!feeds.wants_no_more(session, "a"));
        assert!(feeds.wants_no_more(session, "a"));
        assert!(!feeds.wants_no_more(session, "a"));
    }
}
