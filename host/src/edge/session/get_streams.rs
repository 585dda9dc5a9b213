//! The GET streams of sessions on aggregates, as long as this process keeps them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::model::{ServerName, SessionId};
use crate::protocol::jsonrpc;
use crate::protocol::methods::List;
use crate::streams::{Part, Stream};
use crate::sync::Locked;

use super::notice::lost_notice;

/// A node that is slow to give its stream does not hold up the call that opened it.
const HEARD_TIMEOUT: Duration = Duration::from_secs(2);

/// Streams of this process's sessions.
#[derive(Default)]
pub struct AggregateStreams(Locked<HashMap<SessionId, OwnStream>>);

#[derive(Clone)]
pub struct OwnStream {
    pub instance: u32,
    pub stream: Arc<Stream>,
    /// Servers that are listened to.
    pub heard: Arc<watch::Sender<BTreeSet<ServerName>>>,
}

impl AggregateStreams {
    pub fn get(&self, session: SessionId) -> Option<OwnStream> {
        self.0.lock().get(&session).cloned()
    }

    pub fn insert(&self, session: SessionId, own: OwnStream) {
        self.0.lock().insert(session, own);
    }

    pub fn remove(&self, session: SessionId, instance: u32) {
        let mut streams = self.0.lock();
        if streams.get(&session).is_some_and(|own| own.instance == instance) {
            streams.remove(&session);
        }
    }

    /// Waits until a server that has just been opened is listened to, if the client
    /// listens at all: what it asks during the first call must not be missed.
    pub async fn hears(&self, session: SessionId, server: &ServerName) {
        let Some(own) = self.get(session).filter(|own| !own.stream.has_ended()) else { return };
        let mut heard = own.heard.subscribe();
        let hears = heard.wait_for(|heard| heard.contains(server));
        let _ = tokio::time::timeout(HEARD_TIMEOUT, hears).await;
    }
}

/// What a session hears when a server's state is gone.
///
/// False if it has no stream.
pub fn report_loss(streams: &AggregateStreams, session: SessionId, server: &ServerName) -> bool {
    let Some(own) = streams.get(session).filter(|own| !own.stream.has_ended()) else {
        return false;
    };
    own.stream.put(lost_notice(server), Part::Notice);
    say_lists_changed(&own.stream, &List::NOTIFIED);
    true
}

pub fn say_lists_changed(stream: &Stream, lists: &[List]) {
    for list in lists {
        stream.put(jsonrpc::notification(list.changed()), Part::Notice);
    }
}
