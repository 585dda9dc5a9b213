//! Requests that the gateway itself sends within a client's session.
//!
//! No id is used twice, neither by this process nor by the one before it: a server may still be
//! working on an earlier request.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use tokio::runtime::Handle;

use crate::model::Node;
use crate::net::{Body, EventReader, Failure, Read, collect, is_event_stream};
use crate::protocol::headers;
use crate::protocol::jsonrpc::{self, Envelope};
use crate::seam::{Facts, Outcome, StateStep, is_asked};

use super::call::Call;
use super::outgoing::Outgoing;

/// The server has not answered in time; the request was cancelled.
#[derive(Debug)]
pub struct Silent;

/// What has come back for a request.
#[derive(Debug, Default)]
pub struct Heard {
    /// The answer; `None` if the connection ended without one.
    pub message: Option<Bytes>,
    /// What the runner says of it, if the answer is its own.
    pub outcome: Option<Outcome>,
    /// Whether the server has asked the client something meanwhile, which was refused.
    pub has_asked: bool,
    /// Why no response came.
    pub failure: Option<Failure>,
}

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
        Ok(self.ask_in(None, node, (method, params), patience).await?.message)
    }

    /// The same as a step of a restoration, if it is one. Says also what became of a request
    /// without an answer.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub async fn ask_in(
        &self,
        state: Option<StateStep>,
        node: &Node,
        (method, params): (&str, &str),
        patience: Duration,
    ) -> Result<Heard, Silent> {
        // None of the client's headers goes along.
        let own = Self { context: None, ..*self };
        let id = self.worker.edge.own_ids.id();
        let message = jsonrpc::request(&id, method, params);
        let outgoing = Outgoing { state, ..Outgoing::post(message) };
        let mut asked = PendingRequest { call: own, node, id: &id, state, is_over: false };
        let answer = own.answer_to(node, &outgoing, &id);
        let answer = tokio::time::timeout(patience, answer).await;
        asked.is_over = answer.is_ok();
        answer.map_err(|_| Silent)
    }

    async fn answer_to(&self, node: &Node, outgoing: &Outgoing, id: &str) -> Heard {
        let mut request = self.request(node, outgoing);
        // Other messages of the server go to the client's own streams.
        let json = HeaderValue::from_static(headers::JSON);
        request.headers_mut().insert(header::ACCEPT, json);
        let facts = Facts { state: outgoing.state, ..self.session.facts() };
        let response = match self.exchange(node, facts, request).await {
            Ok(response) => response,
            Err(failure) => return Heard { failure: Some(failure), ..Heard::default() },
        };
        let outcome = Outcome::read(response.headers());
        let has_asked = is_asked(response.headers());
        let message = self.message_in(response, id).await;
        Heard { message, outcome, has_asked, failure: None }
    }

    async fn message_in(&self, response: Response<Body>, id: &str) -> Option<Bytes> {
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
    state: Option<StateStep>,
    is_over: bool,
}

impl Drop for PendingRequest<'_> {
    fn drop(&mut self) {
        let Ok(runtime) = Handle::try_current() else { return };
        if self.is_over {
            return;
        }
        let why = "the gateway no longer waits for the answer";
        let cancel = jsonrpc::cancelled(self.id, why);
        let cancel = Outgoing { state: self.state, ..Outgoing::post(cancel) };
        let Call { worker, session, server, .. } = self.call;
        let (worker, node) = (worker.clone(), self.node.clone());
        let (session, server) = (session.clone(), server.clone());
        runtime.spawn(async move {
            Call::own(&worker, &session, &server).tell(&node, &cancel).await;
        });
    }
}
