//! Sending a message that is too large to be kept: once, after the host has confirmed
//! the session.

use std::sync::Arc;

use crate::edge::client_request::ClientRequest;
use crate::edge::rescue::Refusal;
use crate::edge::routing::affinity::Token;
use crate::edge::routing::bind::Holding;
use crate::edge::session::client_session::Session;
use crate::edge::worker::Worker;
use crate::model::{Node, ServerName};
use crate::net::{Body, BodyFault, Cut, Failure};
use crate::seam::{Handshake, Outcome};

use super::deliver::Delivered;
use super::outgoing::Outgoing;
use super::tried::Tried;

impl Worker {
    /// The body is read to its end in any case in which the client gets an answer to
    /// its request: only there its id may stand.
    pub(in crate::edge) async fn deliver_streamed(
        &self,
        context: &ClientRequest,
        session: &Session,
        server: &ServerName,
        outgoing: &Outgoing,
        body: Body,
        cut: &Cut,
    ) -> Result<Delivered, Refusal> {
        let mut token = None;
        let node = match self.confirmed(context, session, server, &mut token).await {
            Ok(node) => node,
            Err(refusal) => {
                if refusal.is_answer() {
                    body.read_out().await;
                }
                return Err(refusal);
            }
        };
        let mut request = self.request_for(&node, server, outgoing, Some(context));
        *request.body_mut() = body;
        let sent = self.call(&node, server, session.facts(), request).await;
        // A body that broke off is the client's doing, not the node's.
        match cut.why() {
            Some(BodyFault::TooLarge) => {
                return Err(Refusal::TooLarge(self.edge.config.request_body));
            }
            Some(BodyFault::ClientLeft) => return Err(Refusal::BodyBroken),
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
                Some(Outcome::Sent) | None => {
                    self.note_setting(session, server, &response);
                    Ok(Delivered { response, token })
                }
            },
            Err(Failure::NotSent(why) | Failure::Broken(why)) => {
                self.suspect(&node.id, &why);
                Err(Refusal::Lost { server: server.clone(), why })
            }
        }
    }

    /// The node that has the session open, opened where it was not.
    async fn confirmed(
        &self,
        context: &ClientRequest,
        session: &Session,
        server: &ServerName,
        token: &mut Option<Token>,
    ) -> Result<Arc<Node>, Refusal> {
        let mut tried = Tried::default();
        let Holding { node, was_open } = self.holder(session, server, &tried.nodes).await;
        if let Some(node) = node {
            match self.open(context, &node, session, server, Handshake::Host).await {
                Ok(opening) => {
                    self.check_loss(session, server, &opening).await?;
                    return Ok(node);
                }
                Err(why) => {
                    self.report_refusal(session, server, &node, &tried.nodes, &why.reason);
                    tried.failed(&node.id, why);
                }
            }
        }
        if was_open && self.ends_when_lost(server) {
            return Err(self.end_lost(session, server).await);
        }
        let opening = self.establish(context, session, server, &[], Handshake::Host, &mut tried);
        let opened = opening.await?;
        *token = opened.token;
        Ok(opened.node)
    }
}
