//! Which inner sessions are listened to, and for how many clients.

use std::collections::HashMap;

use bytes::Bytes;
use tokio::sync::{broadcast, mpsc};

use crate::edge::front::modern::subscribed::Heard;
use crate::model::SessionId;
use crate::sync::Locked;

/// Notifications of one session that wait to be told to other coordinators. Of more than these they
/// are told that anything may have changed.
const MOST_UNTOLD: usize = 64;
/// Bytes of the largest notification that is told to them as it is.
const MAX_TOLD: usize = 4096;
/// Bytes of the largest one that waits for clients to read it. Of a larger one they are told that
/// anything may have changed, so that for those who do not read little is kept.
const MAX_HEARD: usize = 1024;

/// What those hear who listen to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedItem {
    /// A notification of a server.
    Message(Bytes),
    /// Something was missed: anything may have changed.
    Missed,
    /// Another coordinator has unsubscribed from this resource.
    Unsubscribed(String),
}

/// What a feed learns of those of the same session at other coordinators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherFeed {
    /// It has taken the session's stream over.
    TookOver,
    /// It waits to be told what is heard here.
    Waits,
    /// It hears the servers.
    Hears,
    /// It hears them no more.
    Leaves,
}

/// A feed that is open.
pub struct OpenFeed {
    pub sender: broadcast::Sender<FeedItem>,
    /// Where it learns of others.
    pub others: mpsc::Sender<OtherFeed>,
}

/// The feeds of sessions of which a client listens, and how many want each resource.
#[derive(Default)]
pub struct SessionFeeds {
    pub(super) open: Locked<HashMap<SessionId, OpenFeed>>,
    wanted: Locked<HashMap<(SessionId, String), usize>>,
    /// What other coordinators are about to be told.
    untold: Locked<HashMap<SessionId, Vec<FeedItem>>>,
}

impl SessionFeeds {
    /// Hands something to the clients that listen to the session, if any do here.
    pub fn hear(&self, session: SessionId, item: FeedItem) {
        let item = match item {
            FeedItem::Message(message) => notice(&message),
            other => Some(other),
        };
        let open = self.open.lock();
        if let (Some(feed), Some(item)) = (open.get(&session), item) {
            let _ = feed.sender.send(item);
        }
    }

    /// Whether any client listens to the session here.
    #[must_use]
    pub fn is_open(&self, session: SessionId) -> bool {
        self.open.lock().contains_key(&session)
    }

    /// Another coordinator hears the session's servers from now on.
    pub fn taken_over(&self, session: SessionId) {
        self.tell_feed(session, OtherFeed::TookOver);
    }

    /// Lets a session's feed know of another one. Of too many words the last ones are lost: they come
    /// again.
    pub(super) fn tell_feed(&self, session: SessionId, word: OtherFeed) {
        if let Some(feed) = self.open.lock().get(&session) {
            let _ = feed.others.try_send(word);
        }
    }

    /// Keeps a notification for the other coordinators. True if it is the first, so that somebody has
    /// to tell them soon.
    #[must_use]
    pub(super) fn owe(&self, session: SessionId, message: &Bytes) -> bool {
        let item = match message.len() > MAX_TOLD {
            true => FeedItem::Missed,
            false => FeedItem::Message(message.clone()),
        };
        let mut untold = self.untold.lock();
        let owed = untold.entry(session).or_default();
        let is_first = owed.is_empty();
        if owed.len() >= MOST_UNTOLD {
            *owed = vec![FeedItem::Missed];
        }
        // What may have changed may have changed, however often it is said.
        if !owed.contains(&item) && !owed.contains(&FeedItem::Missed) {
            owed.push(item);
        }
        is_first
    }

    /// What they have to be told.
    #[must_use]
    pub(super) fn take_owed(&self, session: SessionId) -> Vec<FeedItem> {
        self.untold.lock().remove(&session).unwrap_or_default()
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

/// What clients that listen are to hear of a notification. `None` if none of them can want it.
#[must_use]
pub(super) fn notice(message: &Bytes) -> Option<FeedItem> {
    Heard::of(message)?;
    Some(match message.len() > MAX_HEARD {
        true => FeedItem::Missed,
        // On its own, without what else the server has written at once.
        false => FeedItem::Message(Bytes::copy_from_slice(message)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_somebody_can_want_waits_and_little_of_it() {
        let of = |method: &str, uri: &str| {
            let params = format!(r#"{{"uri":"{uri}"}}"#);
            let text = format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#);
            notice(&Bytes::from(text))
        };
        let (updated, lists) =
            ("notifications/resources/updated", "notifications/tools/list_changed");
        assert!(matches!(of(updated, "a://b"), Some(FeedItem::Message(_))));
        assert!(matches!(of(lists, ""), Some(FeedItem::Message(_))));
        let long = "x".repeat(MAX_HEARD);
        assert_eq!(of(updated, &long), Some(FeedItem::Missed));
        assert_eq!(of(lists, &long), Some(FeedItem::Missed));
        assert_eq!(of("notifications/message", &long), None);
        assert_eq!(of("notifications/progress", ""), None);
    }

    fn message(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    #[test]
    fn a_notification_reaches_those_who_listen_to_its_session() {
        let (feeds, session) = (SessionFeeds::default(), SessionId::mint());
        let (sender, mut receiver) = broadcast::channel(4);
        let (others, mut words) = mpsc::channel(1);
        feeds.open.lock().insert(session, OpenFeed { sender, others });
        let item = |list: &str| {
            let text =
                format!(r#"{{"jsonrpc":"2.0","method":"notifications/{list}/list_changed"}}"#);
            FeedItem::Message(message(&text))
        };
        feeds.hear(session, item("tools"));
        feeds.hear(SessionId::mint(), item("prompts"));
        assert_eq!(receiver.try_recv().unwrap(), item("tools"));
        assert!(receiver.try_recv().is_err());
        feeds.taken_over(SessionId::mint());
        feeds.taken_over(session);
        feeds.tell_feed(session, OtherFeed::Hears);
        assert_eq!(words.try_recv().unwrap(), OtherFeed::TookOver);
        assert!(words.try_recv().is_err(), "there was no room for more");
    }

    #[test]
    fn others_are_told_each_thing_once_and_of_too_much_that_it_was_too_much() {
        let (feeds, session) = (SessionFeeds::default(), SessionId::mint());
        assert!(feeds.owe(session, &message("a")));
        assert!(!feeds.owe(session, &message("b")) && !feeds.owe(session, &message("a")));
        let owed = [FeedItem::Message(message("a")), FeedItem::Message(message("b"))];
        assert_eq!(feeds.take_owed(session), owed);
        assert!(feeds.take_owed(session).is_empty());
        let _ = feeds.owe(session, &message(&"x".repeat(MAX_TOLD + 1)));
        assert_eq!(feeds.take_owed(session), [FeedItem::Missed]);
        for number in 0..MOST_UNTOLD * 2 {
            let _ = feeds.owe(session, &message(&number.to_string()));
        }
        assert_eq!(feeds.take_owed(session), [FeedItem::Missed]);
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
