//! Sending a session's message to its replica, whatever happened to the last
//! one that held the session.
//!
//! | the seam says | the edge does |
//! |---|---|
//! | not connected, not sent | next candidate, at once; the node becomes suspect |
//! | unknown session | opens it again, sends again |
//! | broke after sending, and a repeat does no harm | opens it elsewhere, sends once more |
//! | broke after sending, otherwise | says so: the call may have run |

use http::{Method, Response};

use crate::edge::client_request::ClientRequest;
use crate::edge::rescue::Refusal;
use crate::edge::routing::affinity::Token;
use crate::edge::routing::bind::Holding;
use crate::edge::session::client_session::Session;
use crate::edge::worker::Worker;
use crate::model::{Node, NodeId, ServerName};
use crate::net::{Body, Failure};
use crate::protocol::jsonrpc::{Envelope, Kind};
use crate::protocol::methods;
use crate::protocol::splice::{self, RequestTarget};
use crate::seam::{Handshake, Outcome, SettingChange};
use crate::streams::EventId;
use crate::streams::response::too_late;

use super::outgoing::Outgoing;
use super::tried::{Tried, not_opened};

/// Repeats of one message before the client is told: more nodes than that do
/// not fail within one request by accident.
const MAX_ATTEMPTS: usize = 8;

/// A replica's response, and what the client is to be told about the node.
pub struct Delivered {
    pub response: Response<Body>,
    pub token: Option<Token>,
}

impl Worker {
    /// Sends a message that is kept, until a replica answers.
    pub(in crate::edge) async fn deliver(
        &self,
        context: &ClientRequest,
        session: &Session,
        server: &ServerName,
        outgoing: &Outgoing,
    ) -> Result<Delivered, Refusal> {
        let mut tried = Tried::default();
        let mut token = None;
        let mut why = String::new();
        let mut is_repeated = false;
        for _ in 0..MAX_ATTEMPTS {
            let Holding { node, was_open } = self.holder(session, server, &tried.nodes).await;
            let node = match node {
                Some(node) => node,
                None => {
                    if was_open && self.ends_when_lost(server) {
                        return Err(Box::pin(self.end_lost(session, server)).await);
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
            let request = self.request_for(&node, server, outgoing, Some(context));
            match self.call(&node, server, session.facts(), request).await {
                Ok(response) => match Outcome::read(response.headers()) {
                    Some(Outcome::UnknownSession)
                        if (was_open || session.is_single_server)
                            && self.ends_when_lost(server) =>
                    {
                        return Err(Box::pin(self.end_lost(session, server)).await);
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
                        Box::pin(again).await?;
                    }
                    Some(Outcome::NotSent) => {
                        let refused = Box::pin(not_opened(&node, response)).await;
                        why.clone_from(&refused.reason);
                        tried.failed(&node.id, refused);
                    }
                    Some(Outcome::Sent) | None => {
                        self.note_setting(session, server, &response);
                        return Ok(Delivered { response, token });
                    }
                },
                Err(Failure::NotSent(reason)) => {
                    self.suspect(&node.id, &reason);
                    self.report_refusal(session, server, &node, &tried.nodes, &reason);
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

    /// The rest of the stream of a request, from the host that has it. Where it is
    /// gone nobody has it: no server is started to say so.
    pub(in crate::edge) async fn resume(
        &self,
        context: &ClientRequest,
        session: &Session,
        server: &ServerName,
        outgoing: &Outgoing,
        place: EventId,
    ) -> Result<Response<Body>, Refusal> {
        let Some(request) = place.request else {
            let delivered = self.deliver(context, session, server, outgoing).await?;
            return Ok(delivered.response);
        };
        let Holding { node, was_open } = self.holder(session, server, &[]).await;
        if let Some(node) = node {
            let get = self.request_for(&node, server, outgoing, Some(context));
            match self.call(&node, server, session.facts(), get).await {
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
            return Err(self.end_lost(session, server).await);
        }
        let last = outgoing.last_event_id.as_ref().and_then(|id| id.to_str().ok());
        Ok(too_late(last.unwrap_or_default(), &request))
    }

    /// The node that holds the session. After a start of the gateway a session
    /// from before it is waited for, since its node may not have reported yet.
    pub(in crate::edge) async fn holder(
        &self,
        session: &Session,
        server: &ServerName,
        failed: &[NodeId],
    ) -> Holding {
        let look = || {
            let topology = self.edge.topology.load();
            self.holding(&topology, session, server, failed)
        };
        let found = look();
        if found.node.is_some() || !self.edge.cold_start.concerns(session.minted_at) {
            return found;
        }
        let bound = self.edge.cold_start.until(|| {
            let found = look();
            found.node.is_some().then_some(found)
        });
        bound.await.unwrap_or_else(look)
    }

    async fn open_again(
        &self,
        context: &ClientRequest,
        node: &Node,
        session: &Session,
        server: &ServerName,
        tried: &mut Tried,
    ) -> Result<(), Refusal> {
        if !node.health.accepts() {
            tried.nodes.push(node.id.clone());
            return Ok(());
        }
        match self.open(context, node, session, server, Handshake::Host).await {
            Ok(opening) => self.check_loss(session, server, &opening).await,
            Err(why) => {
                self.report_refusal(session, server, node, &tried.nodes, &why.reason);
                tried.failed(&node.id, why);
                Ok(())
            }
        }
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
        let name =
            RequestTarget::of(envelope.params).and_then(|target| splice::string(target.name?));
        match name {
            Some(name) => self.is_harmless_tool(server, session.client_set(), &name).await,
            None => false,
        }
    }

    /// Remembers what the message has set in the session.
    pub(in crate::edge) fn note_setting(
        &self,
        session: &Session,
        server: &ServerName,
        response: &Response<Body>,
    ) {
        let bindings = &self.edge.bindings;
        match SettingChange::read(response.headers()) {
            None => {}
            Some(SettingChange::Level(level)) => bindings.set_log_level(session.id, &level),
            Some(SettingChange::Subscribed(uri)) => bindings.subscribe(session.id, server, &uri),
            Some(SettingChange::Unsubscribed(uri)) => {
                bindings.unsubscribe(session.id, server, &uri)
            }
        }
    }
}
