//! What is heard of a conversation at one coordinator, for those who listen to it at another.
//!
//! A server tells what belongs to no call on one stream, which one coordinator reads; what concerns
//! listeners may also come with a call, at whichever coordinator the call is. Both go to the others
//! through the store they share, a moment later and each thing once: a notification says that
//! something may differ, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::edge::session::client_session::{Origin, Session};
use crate::edge::worker::Edge;
use crate::model::SessionId;
use crate::protocol::jsonrpc::{Envelope, Kind};
use crate::protocol::methods;
use crate::store::shared::FeedWord;

use super::session_feeds::{FeedItem, OtherFeed};

/// Time in which notifications of one session are gathered.
const GATHER: Duration = Duration::from_millis(50);

impl Edge {
    /// Hands on what a server has said of itself on the stream of a call.
    pub(super) fn hear_of_call(self: &Arc<Self>, session: &Session, message: &Bytes) {
        self.feeds.hear(session.id, FeedItem::Message(message.clone()));
        self.relay(session, message);
    }

    /// Tells the other coordinators, if any may have listeners to the session.
    pub(super) fn relay(self: &Arc<Self>, session: &Session, message: &Bytes) {
        let Some(sharing) = self.sharing.clone() else { return };
        // The session of one request is known nowhere else.
        if session.origin != Origin::Conversation || !concerns_listeners(message) {
            return;
        }
        let session = session.id;
        if !self.feeds.owe(session, message) {
            return;
        }
        let edge = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(GATHER).await;
            for item in edge.feeds.take_owed(session) {
                let text = match &item {
                    FeedItem::Message(message) => &**message,
                    // An empty text stands for it.
                    FeedItem::Missed | FeedItem::Unsubscribed(_) => b"",
                };
                if let Some(sealed) = sharing.seal_said(session, text) {
                    sharing.tell_feed(session, FeedWord::Said(sealed));
                }
            }
        });
    }

    /// Tells the other coordinators that the session is subscribed to a resource no more: they may
    /// have listeners who want it.
    pub(in crate::edge) fn tell_unsubscribed(&self, session: &Session, uri: &str) {
        let Some(sharing) = &self.sharing else { return };
        if session.origin == Origin::Conversation
            && let Some(sealed) = sharing.seal_said(session.id, uri.as_bytes())
        {
            sharing.tell_feed(session.id, FeedWord::Unsubscribed(sealed));
        }
    }

    /// Tells the other coordinators how the session is heard here.
    pub(super) fn tell_of_feed(&self, session: SessionId, word: FeedWord) {
        if let Some(sharing) = &self.sharing {
            sharing.tell_feed(session, word);
        }
    }

    /// Takes note of what another coordinator says of a session that clients may listen to here.
    pub(in crate::edge) fn told_of_feed(&self, session: SessionId, word: &FeedWord) {
        let feeds = &self.feeds;
        if !feeds.is_open(session) {
            return;
        }
        let open = |sealed: &str| self.sharing.as_ref()?.open_said(session, sealed);
        match word {
            FeedWord::Waits => feeds.tell_feed(session, OtherFeed::Waits),
            FeedWord::Hears => feeds.tell_feed(session, OtherFeed::Hears),
            FeedWord::Leaves => feeds.tell_feed(session, OtherFeed::Leaves),
            FeedWord::Said(sealed) => match open(sealed) {
                Some(text) if text.is_empty() => feeds.hear(session, FeedItem::Missed),
                Some(text) if concerns_listeners(&text) => {
                    feeds.hear(session, FeedItem::Message(text.into()));
                }
                Some(_) | None => {}
            },
            FeedWord::Unsubscribed(sealed) => {
                if let Some(uri) = open(sealed).and_then(|text| String::from_utf8(text).ok()) {
                    feeds.hear(session, FeedItem::Unsubscribed(uri));
                }
            }
        }
    }
}

/// Whether a message is a notification that clients can listen to.
fn concerns_listeners(message: &[u8]) -> bool {
    Envelope::parse(message).is_ok_and(|message| {
        let method = message.method();
        let is_one = methods::is_list_changed(method) || method == methods::UPDATED;
        is_one && message.kind() == Kind::Notification
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_clients_can_listen_to_is_told() {
        for (text, concerns) in [
            (r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#, true),
            (r#"{"jsonrpc":"2.0","method":"notifications/resources/updated"}"#, true),
            (r#"{"jsonrpc":"2.0","method":"notifications/tasks/status"}"#, false),
            (r#"{"jsonrpc":"2.0","id":1,"method":"notifications/resources/updated"}"#, false),
            ("", false),
        ] {
            assert_eq!(concerns_listeners(text.as_bytes()), concerns, "{text}");
        }
    }
}
