//! Requests of the gateway's own in a client's session.
//!
//! Their ids are used once, in this process and in the one before it: a server may
//! still be at work on an earlier one.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, header};
use tokio::runtime::Handle;

use crate::edge::session::client_session::Session;
use crate::edge::worker::Worker;
use crate::model::{Node, ServerName};
use crate::net::{EventReader, Read, collect, is_event_stream};
use crate::protocol::headers;
use crate::protocol::jsonrpc::{self, Envelope};

use super::outgoing::Outgoing;

/// The server has not answered in time; the request was taken back.
#[derive(Debug)]
pub struct Silent;

impl Worker {
    /// Asks a server that the session has open. None if it gives no answer at all.
    pub(in crate::edge) async fn ask(
        &self,
        node: &Node,
        session: &Session,
        server: &ServerName,
        (method, params): (&str, &str),
        patience: Duration,
    ) -> Result<Option<Bytes>, Silent> {
        let id = self.edge.own_ids.id();
        let outgoing = Outgoing::post(jsonrpc::request(&id, method, params));
        let mut asked =
            PendingRequest { worker: self, node, session, server, id: &id, is_over: false };
        let answer = self.answer_to(node, session, server, &outgoing, &id);
        let answer = tokio::time::timeout(patience, answer).await;
        asked.is_over = answer.is_ok();
        answer.map_err(|_| Silent)
    }

    async fn answer_to(
        &self,
        node: &Node,
        session: &Session,
        server: &ServerName,
        outgoing: &Outgoing,
        id: &str,
    ) -> Option<Bytes> {
        let mut request = self.request_for(node, server, outgoing, None);
        // What else the server says meanwhile is for the client, on a stream of its own.
        let json = HeaderValue::from_static(headers::JSON);
        request.headers_mut().insert(header::ACCEPT, json);
        let response = self.call(node, server, session.facts(), request).await.ok()?;
        let limit = self.edge.config.line;
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

/// A request that is taken back if nobody waits for its answer any more: it took
/// too long, or whoever wanted it has left.
struct PendingRequest<'a> {
    worker: &'a Worker,
    node: &'a Node,
    session: &'a Session,
    server: &'a ServerName,
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
        let (worker, node) = (self.worker.clone(), self.node.clone());
        let (session, server) = (self.session.clone(), self.server.clone());
        runtime.spawn(async move {
            worker.tell(&node, &session, &server, &cancel, None).await;
        });
    }
}
