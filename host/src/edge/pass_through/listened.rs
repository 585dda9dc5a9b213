//! `subscriptions/listen` at a server without sessions: whose it is, and what is said to it.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;

use crate::edge::client_request::ClientRequest;
use crate::edge::delivery::tried::NotOpened;
use crate::edge::worker::Worker;
use crate::model::{Node, Principal, Scope, ServerName};
use crate::protocol::era::methods::ACKNOWLEDGED;
use crate::protocol::jsonrpc::Envelope;

/// A client's request for what a server tells.
pub struct ListenedServer {
    pub worker: Worker,
    pub context: ClientRequest,
    pub scope: Scope,
    pub principal: Principal,
    pub server: ServerName,
    /// The request, as the server gets it.
    pub message: Bytes,
}

/// What the server at one node says.
#[derive(Debug)]
pub enum NodeSaid {
    Note(Bytes),
    /// The acknowledgement of a stream that has begun after the client's: of a node that has come, or is
    /// heard again.
    LateGrant(Bytes),
    /// The answer, after which nothing comes, and its status.
    End(StatusCode, Bytes),
    /// The first attempt to listen there has failed.
    Failed(NotOpened),
}

impl NodeSaid {
    /// Whether it is the acknowledgement of the request.
    #[must_use]
    pub fn is_acknowledgement(&self) -> bool {
        let Self::Note(note) = self else { return false };
        Envelope::parse(note).is_ok_and(|note| note.method() == ACKNOWLEDGED)
    }
}

impl ListenedServer {
    /// The nodes that take requests for the server.
    #[must_use]
    pub fn nodes(worker: &Worker, server: &ServerName) -> Vec<Arc<Node>> {
        let topology = worker.edge.topology.load();
        let taking = topology.replicas(server).filter(|node| node.health.accepts());
        taking.map(Arc::clone).collect()
    }

    /// The id of the request, as JSON.
    #[must_use]
    pub fn id(&self) -> String {
        let envelope = Envelope::parse(&self.message).ok();
        let id = envelope.and_then(|envelope| envelope.id_text().map(str::to_owned));
        id.unwrap_or_else(|| "null".to_owned())
    }
}
