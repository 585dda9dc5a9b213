//! The resources that a client listens to: their servers are subscribed to for as long as it does.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::net::collect;
use crate::protocol::jsonrpc::{self, Envelope};
use crate::protocol::methods::{SUBSCRIBE, UNSUBSCRIBE};
use crate::protocol::{splice, sse};

use super::listen::Listening;
use super::subscribed::Heard;

/// How long servers are waited for before the client is told what it gets. One that is not open yet
/// has to start meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);
/// Resources about which servers are asked at the same time, for one client: it may name many, and the
/// memory of each question is a hundred times what the client has said.
const AT_A_TIME: usize = 4;

impl Listening {
    /// Subscribes to the resources that the client wants, for as long as it is there; what no server
    /// grants in time it does not get.
    pub(super) async fn subscribe(&mut self, sender: &mpsc::Sender<Bytes>) {
        let uris = std::mem::take(&mut self.wanted.resources);
        let this = &*self;
        // Right after a start of the gateway, the nodes first say what they have of the conversation.
        let cold_start = &this.worker.edge.cold_start;
        let waits = cold_start.concerns(this.session.minted_at);
        let patience = PATIENCE + if waits { cold_start.remaining() } else { Duration::ZERO };
        let end = Instant::now() + patience;
        let asking = stream::iter(uris).map(|uri| async move {
            if sender.is_closed() {
                return None;
            }
            let is_first = this.worker.edge.feeds.wants(this.session.id, &uri);
            // Whoever is first may have more rights than this client.
            if !is_first && this.scope.rights().is_none() {
                return Some(uri);
            }
            if this.grants(&uri, end).await {
                return Some(uri);
            }
            this.worker.edge.feeds.wants_no_more(this.session.id, &uri);
            None
        });
        let granted: Vec<Option<String>> = asking.buffered(AT_A_TIME).collect().await;
        self.wanted.resources = granted.into_iter().flatten().collect();
    }

    /// Whether a server grants the subscription before this time.
    async fn grants(&self, uri: &str, end: Instant) -> bool {
        // What is past its time would be begun all the same.
        if Instant::now() >= end {
            return false;
        }
        let asked = tokio::time::timeout_at(end, self.ask(SUBSCRIBE, uri)).await;
        matches!(asked, Ok(true))
    }

    /// Whether a server that has granted something is not heard: it has gone, or its node has.
    pub(super) fn is_cut_off(&self) -> bool {
        let edge = &self.worker.edge;
        let Some(record) = edge.bindings.record(self.session.id) else { return true };
        let Some(own) = edge.streams.get(self.session.id) else { return false };
        let heard = own.heard.borrow();
        record.subscriptions.iter().any(|(server, _)| !heard.contains_key(server))
    }

    /// Subscribes anew, which opens the servers again. Whether one of them has granted it.
    pub(super) async fn renew(&self) -> bool {
        let end = Instant::now() + PATIENCE;
        let uris = self.wanted.resources.clone();
        let asking = stream::iter(uris).map(|uri| async move { self.grants(&uri, end).await });
        let granted: Vec<bool> = asking.buffered(AT_A_TIME).collect().await;
        granted.contains(&true)
    }

    pub(super) async fn unsubscribe(&self) {
        for uri in &self.wanted.resources {
            if self.worker.edge.feeds.wants_no_more(self.session.id, uri) {
                let _ = tokio::time::timeout(PATIENCE, self.ask(UNSUBSCRIBE, uri)).await;
                self.worker.edge.tell_unsubscribed(&self.session, uri);
            }
        }
    }

    /// Subscribes to a resource again that another coordinator's last listener has left. Returns what
    /// the client is told: it may have changed meanwhile.
    pub(super) async fn subscribe_again(&self, uri: String) -> Option<Bytes> {
        if !self.wanted.resources.contains(&uri) {
            return None;
        }
        let _ = tokio::time::timeout(PATIENCE, self.ask(SUBSCRIBE, &uri)).await;
        self.wanted.told(&Heard::Updated(uri), &self.id)
    }

    /// Whether the owner of a resource grants a request about it.
    async fn ask(&self, method: &str, uri: &str) -> bool {
        let id = self.worker.edge.own_ids.id();
        let params = format!("{{\"uri\":{}}}", splice::quoted(uri));
        let message = jsonrpc::request(&id, method, &params);
        let Self { context, scope, session, .. } = self;
        let Ok(response) = self.worker.aggregate_one(context, scope, session, message).await else {
            return false;
        };
        let (has_events, most) =
            (crate::net::is_event_stream(&response), self.worker.edge.config.line);
        let Ok(answer) = collect(response.into_body(), most).await else { return false };
        let is_grant = |said: &[u8]| Envelope::parse(said).is_ok_and(|it| it.result.is_some());
        if !has_events {
            return is_grant(&answer);
        }
        // It took long, or something came before it.
        let mut is_granted = false;
        let decoded =
            sse::EventDecoder::new(most).feed(&answer, |event| is_granted |= is_grant(&event.data));
        decoded.is_ok() && is_granted
    }
}
