//! Nodes learn again and again which start of a gateway is there: sessions of HTTP+SSE end with the
//! stream that it has (`runner/session/stream_leases.rs`). Where several coordinators share the nodes,
//! no other one could tell a coordinator that is gone from one that it cannot reach.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderValue, Method, Request, header};
use tokio::sync::watch;

use crate::cluster::messages::StreamsMessage;
use crate::model::{GatewayStart, Reach, SessionId};
use crate::net::{Body, collect};
use crate::protocol::headers;
use crate::seam::Link;

use super::node_entry::LeaseStatus;
use super::registry::Registry;

/// Signs within one lease.
const SIGNS: u32 = 12;
/// How many node timeouts such a lease lasts: a minute by default.
const NODE_TIMEOUTS: u32 = 4;
/// The shortest lease: clients that come back to another gateway do so within
/// [`super::claims::STREAM_GRACE`].
const SHORTEST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(600);
/// Sessions in one message.
const AT_ONCE: usize = 10_000;
/// Nodes that are told at the same time.
const NODES_AT_ONCE: usize = 16;
/// Longest wait for one.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of an answer that are read, so that its connection can be used again.
const MAX_ANSWER: usize = 4096;

/// The sessions of HTTP+SSE that have their streams here.
pub struct OwnStreams {
    pub start: GatewayStart,
    /// Those that have come back from another start; `None` if there is no session at all.
    pub returned: Box<dyn Fn() -> Option<Vec<SessionId>> + Send + Sync>,
    /// Changes when one has come back, or is the first.
    pub changes: watch::Receiver<u64>,
}

/// Tells all nodes, for as long as the process runs.
pub async fn tell_streams(
    registry: Arc<Registry>,
    mut own: OwnStreams,
    link: Link,
    node_timeout: Duration,
) {
    let lease = node_timeout.saturating_mul(NODE_TIMEOUTS).clamp(SHORTEST, LONGEST);
    loop {
        tokio::select! {
            () = tokio::time::sleep(lease / SIGNS) => {}
            changed = own.changes.changed() => if changed.is_err() {
                return;
            },
        }
        let Some(returned) = (own.returned)() else { continue };
        let messages = messages(own.start, lease, &returned);
        let nodes = registry.entries().into_iter().filter_map(|entry| match &entry.reach {
            Reach::Remote(url) if entry.status == LeaseStatus::Active => Some(url.to_string()),
            _ => None,
        });
        let telling = nodes.map(|url| tell(&link, url, &messages));
        let telling = futures_util::stream::iter(telling).buffer_unordered(NODES_AT_ONCE);
        telling.for_each(|()| std::future::ready(())).await;
    }
}

/// At least one message: without sessions it is a sign alone.
fn messages(start: GatewayStart, lease: Duration, returned: &[SessionId]) -> Vec<Bytes> {
    let none: &[SessionId] = &[];
    let chunks = returned.chunks(AT_ONCE).chain(returned.is_empty().then_some(none));
    let message = |sessions: &[SessionId]| StreamsMessage {
        start: start.get(),
        lease_ms: u64::try_from(lease.as_millis()).unwrap_or(u64::MAX),
        sessions: sessions.iter().map(SessionId::to_string).collect(),
    };
    let texts = chunks.filter_map(|sessions| serde_json::to_vec(&message(sessions)).ok());
    texts.map(Bytes::from).collect()
}

/// A node that is not reached is told the next time; one of an earlier version knows no streams.
async fn tell(link: &Link, url: String, messages: &[Bytes]) {
    for message in messages {
        let mut request = Request::new(Body::from(message.clone()));
        *request.method_mut() = Method::POST;
        let json = HeaderValue::from_static(headers::JSON);
        request.headers_mut().insert(header::CONTENT_TYPE, json);
        let sending = async {
            if let Ok(response) = link.remote(&url, "/cluster/streams", request).await {
                let _ = collect(response.into_body(), MAX_ANSWER).await;
            }
        };
        if tokio::time::timeout(PATIENCE, sending).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_always_a_sign_and_no_message_is_long() {
        let start = GatewayStart::random();
        let count = |sessions: usize| {
            let sessions: Vec<SessionId> = (0..sessions).map(|_| SessionId::mint()).collect();
            let messages = messages(start, SHORTEST, &sessions);
            let read = messages.iter().map(|text| {
                let message: StreamsMessage = serde_json::from_slice(text).unwrap();
                assert_eq!((message.start, message.lease_ms), (start.get(), 10_000));
                message.sessions.len()
            });
            read.collect::<Vec<_>>()
        };
        assert_eq!(count(0), [0]);
        assert_eq!(count(1), [1]);
        assert_eq!(count(AT_ONCE + 1), [AT_ONCE, 1]);
    }
}
