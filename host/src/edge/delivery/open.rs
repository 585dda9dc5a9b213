//! Opening a session's server at a replica, and finding one that can.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};

use crate::edge::client_request::ClientRequest;
use crate::edge::rescue::Refusal;
use crate::edge::routing::affinity::Token;
use crate::edge::session::client_session::Session;
use crate::edge::worker::Worker;
use crate::model::{Node, NodeId, Reach, ServerName};
use crate::net::{Body, Failure, collect};
use crate::protocol::{methods, splice};
use crate::seam::{Facts, Handshake, Start};

use super::outgoing::{Outgoing, let_through};
use super::own_request::Silent;
use super::tried::{MAX_RESULT, NotOpened, Tried, not_opened};

/// A server that does not answer must not hold up the message that opens it.
const RESTORE_TIMEOUT: Duration = Duration::from_secs(10);

/// What a node has done to open a server.
pub struct NodeOpened {
    /// The `InitializeResult`.
    pub result: Bytes,
    /// Whether the session has had it open before, and nothing of that is left.
    pub is_lost: bool,
}

/// A server that is open for the session.
pub struct OpenServer {
    pub node: Arc<Node>,
    /// The `InitializeResult`.
    pub result: Bytes,
    pub token: Option<Token>,
}

impl Worker {
    /// Binds the session to a node and opens the server there; goes on to the
    /// next node while one refuses. Nothing of the client's message is sent.
    pub(in crate::edge) async fn establish(
        &self,
        context: &ClientRequest,
        session: &Session,
        server: &ServerName,
        message: &[u8],
        handshake: Handshake,
        tried: &mut Tried,
    ) -> Result<OpenServer, Refusal> {
        loop {
            let previous = self.edge.bindings.get(session.id, server).map(|bound| bound.node);
            self.edge.bindings.belongs_to(session.id, &session.principal);
            let choice = self.choose(context, session, server, message, &tried.nodes);
            let Some(choice) = choice else {
                return Err(std::mem::take(tried).refusal(server, "no node that hosts it is up"));
            };
            let bindings = &self.edge.bindings;
            let winner = bindings.claim(session.id, server, previous.as_ref(), &choice.node);
            let token = choice.token.filter(|_| winner == choice.node);
            let topology = self.edge.topology.load_full();
            let known = topology.node(&winner).filter(|_| !tried.nodes.contains(&winner));
            let Some(node) = known else {
                // Another worker's choice that is of no use to us.
                bindings.release(session.id, server, &winner);
                tried.nodes.push(winner);
                continue;
            };
            match self.open(context, node, session, server, handshake).await {
                Ok(opening) => {
                    self.check_loss(session, server, &opening).await?;
                    return Ok(OpenServer {
                        node: Arc::clone(node),
                        result: opening.result,
                        token,
                    });
                }
                Err(why) => {
                    self.report_refusal(session, server, node, &tried.nodes, &why.reason);
                    bindings.release(session.id, server, &winner);
                    tried.failed(&winner, why);
                }
            }
        }
    }

    /// Opens the server at one node, which does nothing where it is open already. If
    /// the session has had it open and it was not, its state is lost.
    pub(in crate::edge) async fn open(
        &self,
        context: &ClientRequest,
        node: &Node,
        session: &Session,
        server: &ServerName,
        handshake: Handshake,
    ) -> Result<NodeOpened, NotOpened> {
        let was_open = handshake == Handshake::Host
            && (session.is_single_server || self.edge.bindings.was_open(session.id, server));
        let mut request = Request::new(Body::from(session.params.clone()));
        *request.method_mut() = Method::POST;
        let facts = Facts { open: Some(handshake), ..session.facts() };
        let_through(node, server, Some(context), request.headers_mut());
        let response = match self.call(node, server, facts, request).await {
            Ok(response) => response,
            Err(Failure::NotSent(why) | Failure::Broken(why)) => {
                self.suspect(&node.id, &why);
                return Err(format!("node {}: {why}", node.id).into());
            }
        };
        if !response.status().is_success() {
            return Err(not_opened(node, response).await);
        }
        let is_fresh = Start::read(response.headers()) == Start::Fresh;
        let result = collect(response.into_body(), MAX_RESULT).await.map_err(|e| e.to_string())?;
        // A DELETE that came meanwhile found nothing to end here.
        if self.edge.records.is_ended(session.id) {
            let outgoing = Outgoing::delete();
            Box::pin(self.tell(node, session, server, &outgoing, Some(context))).await;
            return Err("the session has ended".to_owned().into());
        }
        let opening = NodeOpened { result, is_lost: is_fresh && was_open };
        if handshake == Handshake::Host && is_fresh {
            self.restore(node, session, server).await;
        }
        if opening.is_lost {
            self.report_loss(session, server);
        }
        self.edge.bindings.opened(session.id, server, &node.id);
        self.edge.opened_servers.opened(session.id);
        Ok(opening)
    }

    /// Tells a server that was opened later what the session has set before.
    async fn restore(&self, node: &Node, session: &Session, server: &ServerName) {
        let Some(record) = self.edge.bindings.record(session.id) else { return };
        let level =
            record.log_level.map(|level| (methods::SET_LEVEL, format!("{{\"level\":{level}}}")));
        let subscribed = record.subscriptions.iter().filter(|(owner, _)| owner == server);
        let subscriptions = subscribed
            .map(|(_, uri)| (methods::SUBSCRIBE, format!("{{\"uri\":{}}}", splice::quoted(uri))));
        for (method, params) in level.into_iter().chain(subscriptions) {
            let asking = self.ask(node, session, server, (method, &params), RESTORE_TIMEOUT);
            // A server that does not do it refuses; there is nothing to restore then.
            if let Err(Silent) = asking.await {
                tracing::warn!(session = %session.id.short(), server = %server, "it does not answer what the session has set before");
                return;
            }
        }
    }

    /// A node has not taken the session, which goes on to the next if there is one.
    /// What this process's own host refuses it says itself.
    pub(in crate::edge) fn report_refusal(
        &self,
        session: &Session,
        server: &ServerName,
        node: &Node,
        tried: &[NodeId],
        why: &str,
    ) {
        let topology = self.edge.topology.load();
        let is_left = |other: &Node| {
            other.id != node.id && other.health.accepts() && !tried.contains(&other.id)
        };
        let (session, node_id) = (session.id.short(), &node.id);
        if topology.replicas(server).any(|other| is_left(other)) {
            tracing::warn!(
                session = %session, node = %node_id, server = %server,
                "session affinity: cannot open there, the session goes on to another node: {why}"
            );
        } else if node.reach != Reach::Local {
            tracing::warn!(
                session = %session, node = %node_id, server = %server,
                "session affinity: cannot open there, and there is no other node: {why}"
            );
        } else {
            tracing::debug!(session = %session, server = %server, "cannot open: {why}");
        }
    }

    pub(in crate::edge) fn suspect(&self, node: &NodeId, why: &str) {
        tracing::debug!(node = %node, "did not answer: {why}");
        // Nobody listens only while the process ends.
        let _ = self.edge.suspects.send((node.clone(), why.to_owned()));
    }
}
