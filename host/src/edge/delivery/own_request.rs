//! Requests that the gateway itself sends within a client's session.
//!
//! No id is used twice, neither by this process nor by the one before it: a server may still be
//! working on an earlier request.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, header};
use tokio::runtime::Handle;

use crate::model::Node;
use crate::net::{EventReader, Read, collect, is_event_stream};
use crate::protocol::headers;
use crate::protocol::jsonrpc::{self, Envelope};

use super::call::Call;
use super::outgoing::Outgoing;

/// The server has not answered in time; the request was cancelled.
#[derive(Debug)]
pub struct Silent;

impl Call<'_> {
    /// Sends a request to a server that the session has open, and waits for the answer. `None`
    /// if the connection ends without one.
    ///
    /// # Errors
    /// If there is no answer within `patience`; the request is then cancelled.
    pub async fn ask(
        &self,
        node: &Node,
        (method, params): (&str, &str),
        patience: Duration,
    ) -> Result<Option<Bytes>, Silent> {
        // None of the client's headers goes along.
        let own = Self { context: None, ..*self };
        let id = self.worker.edge.own_ids.id();
        let outgoing = Outgoing::post(jsonrpc::request(&id, method, params));
        let mut asked = PendingRequest { call: own, node, id: &id, is_over: false };
        let answer = own.answer_to(node, &outgoing, &id);
        let answer = tokio::time::timeout(patience, answer).await;
        asked.is_over = answer.is_ok();
        answer.map_err(|_| Silent)
    }

    async fn answer_to(&self, node: &Node, outgoing: &Outgoing, id: &str) -> Option<Bytes> {
        let mut request = self.request(node, outgoing);
        // Other messages of the server go to the client's own streams.
        let json = HeaderValue::from_static(headers::JSON);
        request.headers_mut().insert(header::ACCEPT, json);
        let response = self.exchange(node, self.session.facts(), request).await.ok()?;
        let limit = self.worker.edge.config.line;
        if !is_event_stream(&response) {
            return collect(response.into_body(), limit).await.ok();
        }
        let mut events = EventReader::new(response.into_body(), limit);
        while let Some(read) = events.next().await {
            let Read::Event(event) = read else { continue };
            if event.has_message()
                && Envelope::parse(&event.data).is_ok_and(|e| e.id_text() == Some(id))
            {
                return Some(event.data.into());
            }
        }
        None
    }
}

/// A request that is cancelled when this is dropped before the answer: it took too long, or the
/// task that wanted the answer has ended.
struct PendingRequest<'a> {
    call: Call<'a>,
    node: &'a Node,
    id: &'a str,
    is_over: bool,
}

impl Drop for PendingRequest<'_> {
    fn drop(&mut self) {
        let Ok(runtime) = Handle::try_current() else { return };
        if self.is_over {
            return;
        }
        let cancel = Outgoing::post(jsonrpc::cancelled(
            self.id,
            "the gateway no longer waits for the answer",
        ));
        let Call { worker, session, server, .. } = self.call;
        let (worker, node) = (worker.clone(), self.node.clone());
        let (session, server) = (session.clone(), server.clone());
        runtime.spawn(async move {
            Call::own(&worker, &session, &server).tell(&node, &cancel).await;
        });
    }
}
