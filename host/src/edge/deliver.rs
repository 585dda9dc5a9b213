//! Sending a session's message to its replica, whatever happened to the last
//! one that held the session.
//!
//! | the seam says | the edge does |
//! |---|---|
//! | not connected, not sent | next candidate, at once; the node becomes suspect |
//! | unknown session | opens it again, sends again |
//! | broke after sending, and a repeat does no harm | opens it elsewhere, sends once more |
//! | broke after sending, otherwise | says so: the call may have run |

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response};

use crate::model::{Node, NodeId, ServerName};
use crate::protocol::headers;
use crate::protocol::jsonrpc::{Envelope, Kind};
use crate::protocol::methods;
use crate::protocol::splice::{self, Target};
use crate::seam::{Body, Cut, Facts, Failure, Handshake, Note, Outcome, Why};
use crate::streams::EventId;
use crate::streams::response::too_late;

use super::Worker;
use super::affinity::Token;
use super::aggregate_stream::say_lost;
use super::bind::Context;
use super::open::Tried;
use super::rescue::Refusal;
use super::session::Session;

/// Repeats of one message before the client is told: more nodes than that do
/// not fail within one request by accident.
const MAX_ATTEMPTS: usize = 8;

/// A message that can be sent again.
#[derive(Debug, Clone)]
pub struct Outgoing {
    pub method: Method,
    pub body: Bytes,
    pub accept: Option<HeaderValue>,
    pub last_event_id: Option<HeaderValue>,
}

impl Outgoing {
    #[must_use]
    pub fn post(body: Bytes, accept: Option<&HeaderValue>) -> Self {
        Self { method: Method::POST, body, accept: accept.cloned(), last_event_id: None }
    }
}

/// A replica's response, and what the client is to be told about the node.
pub struct Delivered {
    pub response: Response<Body>,
    pub token: Option<Token>,
}

impl Worker {
    /// The request for a replica: the message, the session's facts, and of the
    /// client's headers those that the operator lets through to this server.
    pub(super) fn request_for(
        &self,
        node: &Node,
        server: &ServerName,
        session: &Session,
        outgoing: &Outgoing,
        client: Option<&Context>,
    ) -> Request<Body> {
        let mut request = Request::new(Body::from(outgoing.body.clone()));
        *request.method_mut() = outgoing.method.clone();
        let headers = request.headers_mut();
        if outgoing.method == Method::POST {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(headers::JSON));
        }
        if let Some(accept) = &outgoing.accept {
            headers.insert(header::ACCEPT, accept.clone());
        }
        if let Some(id) = &outgoing.last_event_id {
            headers.insert(headers::LAST_EVENT_ID, id.clone());
        }
        let_through(node, server, client, headers);
        let facts = Facts { session: session.id, principal: session.principal.clone(), open: None };
        request.extensions_mut().insert(facts);
        request
    }

    /// Sends a message that is kept, until a replica answers.
    pub(super) async fn deliver(
        &self,
        context: &Context,
        session: &Session,
        server: &ServerName,
        outgoing: &Outgoing,
    ) -> Result<Delivered, Refusal> {
        let mut tried = Tried::default();
        let mut token = None;
        let mut why = String::new();
        let mut is_repeated = false;
        for _ in 0..MAX_ATTEMPTS {
            let node = match self.holder(session, server, &tried.nodes).await {
                Some(node) => node,
                None => {
                    let was_open = self.edge.bindings.get(session.id, server).is_some();
                    if was_open && self.ends_when_lost(server) {
                        return Box::pin(self.end_lost(session, server)).await;
                    }
                    let (message, handshake) = (&outgoing.body, Handshake::Host);
                    let opening =
                        self.establish(context, session, server, message, handshake, &mut tried);
                    let opened = Box::pin(opening).await?;
                    token = opened.token.or(token);
                    Box::pin(self.edge.streams.hears(session.id, server)).await;
                    opened.node
                }
            };
            let request = self.request_for(&node, server, session, outgoing, Some(context));
            match self.call(&node, server, request).await {
                Ok(response) => match Outcome::read(response.headers()) {
                    Some(Outcome::UnknownSession) if self.ends_when_lost(server) => {
                        return Box::pin(self.end_lost(session, server)).await;
                    }
                    Some(Outcome::Sent)
                        if !is_repeated
                            && Box::pin(self.is_safe_to_repeat(session, server, outgoing))
                                .await =>
                    {
                        is_repeated = true;
                        why = "it went away twice while it answered".to_owned();
                    }
                    Some(Outcome::UnknownSession) => {
                        why = "its session was lost and could not be opened again".to_owned();
                        let again = self.open_again(context, &node, session, server, &mut tried);
                        Box::pin(again).await;
                    }
                    Some(Outcome::NotSent) => {
                        why = format!("node {} could not reach it", node.id);
                        tried.failed(&node.id, why.clone().into());
                    }
                    Some(Outcome::Sent) | None => {
                        self.take_note(session, server, &response);
                        return Ok(Delivered { response, token });
                    }
                },
                Err(Failure::NotSent(reason)) => {
                    self.suspect(&node.id, &reason);
                    self.say_moved(session, server, &node.id, &reason);
                    tried.failed(&node.id, reason.clone().into());
                    why = reason;
                }
                Err(Failure::Broken(reason)) => {
                    self.suspect(&node.id, &reason);
                    let may_repeat = !is_repeated
                        && Box::pin(self.is_safe_to_repeat(session, server, outgoing)).await;
                    if !may_repeat {
                        return Err(Refusal::Lost { server: server.clone(), why: reason });
                    }
                    is_repeated = true;
                    tried.failed(&node.id, reason.clone().into());
                    why = reason;
                }
            }
        }
        Err(tried.refusal(server, &why))
    }

    /// Sends a message that is too large to be kept: once, after the host has
    /// confirmed the session.
    pub(super) async fn deliver_once(
        &self,
        context: &Context,
        session: &Session,
        server: &ServerName,
        outgoing: &Outgoing,
        body: Body,
        cut: &Cut,
    ) -> Result<Delivered, Refusal> {
        let mut tried = Tried::default();
        let mut token = None;
        let confirmed = match self.holder(session, server, &tried.nodes).await {
            Some(node) => match self.open(context, &node, session, server, Handshake::Host).await {
                Ok(_) => Some(node),
                Err(why) => {
                    self.say_moved(session, server, &node.id, &why.reason);
                    tried.failed(&node.id, why);
                    None
                }
            },
            None => None,
        };
        let node = match confirmed {
            Some(node) => node,
            None => {
                let opened = self
                    .establish(context, session, server, &[], Handshake::Host, &mut tried)
                    .await?;
                token = opened.token;
                opened.node
            }
        };
        let mut request = self.request_for(&node, server, session, outgoing, Some(context));
        *request.body_mut() = body;
        let sent = self.call(&node, server, request).await;
        // A body that broke off is the client's doing, not the node's.
        match cut.why() {
            Some(Why::TooLarge) => return Err(Refusal::TooLarge(self.edge.config.request_body)),
            Some(Why::ClientLeft) => return Err(Refusal::BodyBroken),
            None => {}
        }
        match sent {
            Ok(response) => match Outcome::read(response.headers()) {
                // The body is gone: whoever has it must send it again.
                Some(Outcome::UnknownSession | Outcome::NotSent) => Err(Refusal::Unavailable {
                    server: server.clone(),
                    why: "it was lost while the request came in; send it again".to_owned(),
                    retry_after: None,
                }),
                Some(Outcome::Sent) | None => Ok(Delivered { response, token }),
            },
            Err(Failure::NotSent(why) | Failure::Broken(why)) => {
                self.suspect(&node.id, &why);
                Err(Refusal::Lost { server: server.clone(), why })
            }
        }
    }

    /// The rest of the stream of a request, from the host that has it. Where it is
    /// gone nobody has it: no server is started to say so.
    pub(super) async fn resume(
        &self,
        context: &Context,
        session: &Session,
        server: &ServerName,
        outgoing: &Outgoing,
        place: EventId,
    ) -> Result<Response<Body>, Refusal> {
        let Some(request) = place.request else {
            let delivered = self.deliver(context, session, server, outgoing).await?;
            return Ok(delivered.response);
        };
        let was_open = self.edge.bindings.get(session.id, server).is_some();
        if let Some(node) = self.holder(session, server, &[]).await {
            let get = self.request_for(&node, server, session, outgoing, Some(context));
            match self.call(&node, server, get).await {
                Ok(response) if Outcome::read(response.headers()).is_none() => return Ok(response),
                Ok(_) => {}
                Err(Failure::NotSent(reason)) => self.suspect(&node.id, &reason),
                Err(Failure::Broken(why)) => {
                    self.suspect(&node.id, &why);
                    return Err(Refusal::Lost { server: server.clone(), why });
                }
            }
        }
        if was_open && self.ends_when_lost(server) {
            self.end_lost(session, server).await?;
        }
        let last = outgoing.last_event_id.as_ref().and_then(|id| id.to_str().ok());
        Ok(too_late(last.unwrap_or_default(), &request))
    }

    /// The node that holds the session. After a start of the gateway a session
    /// from before it is waited for, since its node may not have reported yet.
    async fn holder(
        &self,
        session: &Session,
        server: &ServerName,
        failed: &[NodeId],
    ) -> Option<Arc<Node>> {
        let look = || {
            let topology = self.edge.topology.load();
            self.bound(&topology, session, server, failed)
        };
        let found = look();
        if found.is_some() || !self.edge.returning.concerns(session.minted_at) {
            return found;
        }
        self.edge.returning.until(look).await
    }

    async fn open_again(
        &self,
        context: &Context,
        node: &Node,
        session: &Session,
        server: &ServerName,
        tried: &mut Tried,
    ) {
        self.edge.metrics.reopened();
        if !node.health.accepts() {
            tried.nodes.push(node.id.clone());
            return;
        }
        if let Err(why) = self.open(context, node, session, server, Handshake::Host).await {
            self.say_moved(session, server, &node.id, &why.reason);
            tried.failed(&node.id, why);
            return;
        }
        say_lost(&self.edge.streams, session.id, server);
    }

    /// Whether a second run of the message does no harm: by its method, or by what
    /// the server says of the tool.
    async fn is_safe_to_repeat(
        &self,
        session: &Session,
        server: &ServerName,
        outgoing: &Outgoing,
    ) -> bool {
        let Ok(envelope) = Envelope::parse(&outgoing.body) else { return false };
        if outgoing.method != Method::POST || envelope.kind() != Kind::Request {
            return false;
        }
        if methods::destination(envelope.method()) != methods::Destination::Tool {
            return methods::is_safe_to_repeat(envelope.method());
        }
        let name = Target::of(envelope.params).and_then(|target| splice::string(target.name?));
        match name {
            Some(name) => self.is_harmless_tool(server, session.client_set(), &name).await,
            None => false,
        }
    }

    /// Whether the operator wants sessions to end rather than go on without what
    /// the server held for them (`onLost`).
    fn ends_when_lost(&self, server: &ServerName) -> bool {
        let topology = self.edge.topology.load();
        topology
            .replicas(server)
            .any(|node| node.servers.get(server).is_some_and(|replica| replica.ends_when_lost))
    }

    async fn end_lost(&self, session: &Session, server: &ServerName) -> Result<Delivered, Refusal> {
        tracing::warn!(
            session = %session.id.short(), server = %server,
            "the session ends: its server's state is lost, and onLost is \"fail\""
        );
        self.edge.metrics.ended();
        self.end(session).await;
        Err(Refusal::UnknownSession)
    }

    /// Remembers what the message has set in the session.
    fn take_note(&self, session: &Session, server: &ServerName, response: &Response<Body>) {
        let bindings = &self.edge.bindings;
        match Note::read(response.headers()) {
            None => {}
            Some(Note::Level(level)) => bindings.set_log_level(session.id, &level),
            Some(Note::Subscribed(uri)) => bindings.subscribe(session.id, server, &uri),
            Some(Note::Unsubscribed(uri)) => bindings.unsubscribe(session.id, server, &uri),
        }
    }

    fn say_moved(&self, session: &Session, server: &ServerName, node: &NodeId, why: &str) {
        tracing::warn!(
            session = %session.id.short(), node = %node, server = %server,
            "session affinity: the session leaves its node: {why}"
        );
    }
}

/// Puts the client's headers that the operator lets through onto a request on the
/// seam.
pub fn let_through(
    node: &Node,
    server: &ServerName,
    client: Option<&Context>,
    headers: &mut HeaderMap,
) {
    let (Some(client), Some(replica)) = (client, node.servers.get(server)) else { return };
    for name in &replica.passthrough {
        if let Ok(name) = HeaderName::try_from(&**name) {
            headers::let_through(&name, &client.headers, headers);
        }
    }
}
