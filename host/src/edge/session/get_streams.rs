//! The GET streams of sessions on aggregates, while this process keeps them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use crate::model::{NodeId, Rights, ServerName, SessionId};
use crate::protocol::jsonrpc;
use crate::protocol::methods::List;
use crate::streams::{Part, Stream};
use crate::sync::{Locked, Signal};

/// How long a call waits for the stream of the server that it opened; a slow node must not hold
/// it up for longer.
const HEARD_TIMEOUT: Duration = Duration::from_secs(2);

/// Streams beyond which a new one ends one that no client reads. Each is kept for minutes after its
/// client has left, with what was sent since.
const MOST_KEPT: usize = 10_000;

/// The GET streams of this process's sessions on aggregates.
#[derive(Default)]
pub struct AggregateStreams(Locked<HashMap<SessionId, OwnStream>>);

/// The nodes from which servers of a session are heard.
pub type Heard = Arc<watch::Sender<BTreeMap<ServerName, NodeId>>>;

/// One session's stream.
#[derive(Clone)]
pub struct OwnStream {
    /// Tells event ids of this stream from those of another one for the same session.
    pub instance: u32,
    pub stream: Arc<Stream>,
    /// What its client could use when it began.
    pub rights: Option<Arc<Rights>>,
    /// Servers whose streams feed this one, each with the node that it is heard from.
    pub heard: Heard,
    /// Raised when nobody may feed it any more.
    pub over: Arc<Signal>,
    /// How often it was told to other coordinators that did not come back from there yet. What comes
    /// before that is older.
    pub untold: Arc<AtomicUsize>,
}

impl OwnStream {
    /// Whether all that others have told of newer ones comes after what was told of this one.
    pub fn is_told(&self) -> bool {
        self.untold.load(Ordering::Relaxed) == 0
    }

    /// Notes that it was told, or could not be.
    pub fn told(&self) {
        let less = |count: usize| count.checked_sub(1);
        let _ = self.untold.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}

impl AggregateStreams {
    pub fn get(&self, session: SessionId) -> Option<OwnStream> {
        self.0.lock().get(&session).cloned()
    }

    /// Keeps a stream that begins. Where there are too many, one ends that no client reads; those
    /// that are read are as many as there are connections.
    pub fn insert(&self, session: SessionId, own: OwnStream) {
        let mut streams = self.0.lock();
        if streams.len() >= MOST_KEPT {
            let unread = streams.iter().find(|(_, own)| !own.stream.is_attached());
            if let Some(unread) = unread.map(|(session, _)| *session)
                && let Some(own) = streams.remove(&unread)
            {
                own.stream.end();
            }
        }
        streams.insert(session, own);
    }

    pub fn remove(&self, session: SessionId, instance: u32) {
        let mut streams = self.0.lock();
        if streams.get(&session).is_some_and(|own| own.instance == instance) {
            streams.remove(&session);
        }
    }

    /// Ends this stream of a session: its client listens at another coordinator, and two streams that
    /// feed from one node would take its messages from each other. Whoever feeds it ends it, with what is
    /// still to be put there.
    pub fn give_way(&self, session: SessionId, own: &OwnStream) {
        self.remove(session, own.instance);
        own.over.raise();
    }

    /// Ends the stream of a session that has ended.
    pub fn end(&self, session: SessionId) {
        if let Some(own) = self.get(session) {
            self.give_way(session, &own);
        }
    }

    /// Waits until the stream of a server that was just opened at a node feeds the session's stream,
    /// if it has one: a request that the server sends during the first call must not be missed.
    pub async fn wait_until_heard(&self, session: SessionId, server: &ServerName, node: &NodeId) {
        let Some(own) = self.get(session).filter(|own| !own.stream.has_ended()) else { return };
        let mut heard = own.heard.subscribe();
        let wait_until_heard = heard.wait_for(|heard| heard.get(server) == Some(node));
        let _ = tokio::time::timeout(HEARD_TIMEOUT, wait_until_heard).await;
    }
}

/// Tells a session on its stream that the state of a server is lost, and that its lists may
/// differ now. False if nobody reads it: a stream that is kept may be forgotten unread.
pub fn report_loss(streams: &AggregateStreams, session: SessionId, notice: Bytes) -> bool {
    let is_read = |own: &OwnStream| own.stream.is_attached() && !own.stream.has_ended();
    let Some(own) = streams.get(session).filter(is_read) else {
        return false;
    };
    own.stream.put(notice, Part::Notice);
    say_lists_changed(&own.stream, &List::NOTIFIED);
    true
}

/// Puts a `list_changed` notification for each list onto the stream.
pub fn say_lists_changed(stream: &Stream, lists: &[List]) {
    for list in lists {
        stream.put(jsonrpc::notification(list.changed()), Part::Notice);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::Bounds;

    #[test]
    fn of_too_many_streams_one_ends_that_no_client_reads() {
        let streams = AggregateStreams::default();
        let begin = |session| {
            let stream = Stream::new(0, None, Bounds { events: 1, bytes: 1 });
            stream.publish();
            let (heard, over, untold) = (Arc::default(), Arc::default(), Arc::default());
            let own = OwnStream { instance: 1, stream, rights: None, heard, over, untold };
            streams.insert(session, own.clone());
            own.stream
        };
        let read = SessionId::mint();
        let _reader = begin(read).read_on();
        let others: Vec<Arc<Stream>> = (0..MOST_KEPT).map(|_| begin(SessionId::mint())).collect();
        assert_eq!(streams.0.lock().len(), MOST_KEPT);
        assert!(streams.get(read).is_some());
        assert_eq!(others.iter().filter(|stream| stream.has_ended()).count(), 1);
    }
}
