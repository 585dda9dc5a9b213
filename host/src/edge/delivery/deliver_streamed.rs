//! Delivers a message that is too large to be kept. It is sent once, after a runner has confirmed
//! the session.

use std::sync::Arc;

use crate::edge::front::request_ids::begun;
use crate::edge::refusal::Refusal;
use crate::edge::routing::affinity::Token;
use crate::edge::routing::bind::Holding;
use crate::model::Node;
use crate::net::{Body, BodyFault, Cut, Failure, IntakeFault};
use crate::protocol::request_id::RequestId;
use crate::seam::{Handshake, Outcome};

use super::call::Call;
use super::deliver::Delivered;
use super::outgoing::Outgoing;
use super::tried::Tried;

impl Call<'_> {
    /// Delivers the message while its body arrives. Before a refusal that answers the request, the
    /// rest of the body is read, since the request's id may be at its end.
    pub async fn deliver_streamed(
        &self,
        outgoing: &Outgoing,
        mut body: Body,
        cut: &Cut,
    ) -> Result<Delivered, Refusal> {
        let mut token = None;
        let node = match self.confirmed(&mut token).await {
            Ok(node) => node,
            Err(refusal) => {
                if refusal.is_answer() {
                    body.read_out().await;
                } else {
                    // The cut sees what is read, too.
                    let _ = Box::pin(begun(&mut body, RequestId::default())).await;
                }
                return Err(refusal);
            }
        };
        Box::pin(self.note_unread()).await;
        let mut request = self.request(&node, outgoing);
        *request.body_mut() = body;
        let sent = self.exchange(&node, self.session.facts(), request).await;
        // If the request body broke off, the client is to blame and not the node.
        match cut.why() {
            Some(BodyFault::TooLarge) => {
                return Err(Refusal::TooLarge(self.worker.edge.config.request_body));
            }
            Some(BodyFault::ClientLeft) => return Err(Refusal::BodyBroken),
            Some(BodyFault::Broken(IntakeFault::Stalled)) => {
                return Err(Refusal::BodyStalled(self.worker.edge.config.body_rate));
            }
            Some(BodyFault::Broken(IntakeFault::GaveWay)) => return Err(Refusal::NoRoomForBody),
            None => {}
        }
        match sent {
            Ok(response) => match Outcome::read(response.headers()) {
                // The body is gone: only the client can send it again.
                Some(Outcome::UnknownSession | Outcome::NotSent) => Err(Refusal::Unavailable {
                    server: self.server.clone(),
                    why: "the request did not reach the server; send it again".to_owned(),
                    retry_after: None,
                    by_node: true,
                }),
                Some(Outcome::Sent) | None => {
                    self.note_setting(&response);
                    Ok(Delivered { response, node, token, user: None })
                }
            },
            Err(Failure::Short(why)) => Err(Refusal::short(self.server, why)),
            Err(Failure::NotSent(why)) => {
                self.worker.suspect(&node.id, &why);
                let server = self.server.clone();
                Err(Refusal::Unavailable { server, why, retry_after: None, by_node: false })
            }
            Err(Failure::Broken(why)) => {
                self.worker.suspect(&node.id, &why);
                Err(Refusal::Lost { server: self.server.clone(), why })
            }
        }
    }

    /// A node that has the session open; one is opened if there is none.
    async fn confirmed(&self, token: &mut Option<Token>) -> Result<Arc<Node>, Refusal> {
        self.check_login().await?;
        let mut tried = Tried::default();
        let Holding { node, was_open, .. } = self.holder(&tried.nodes).await;
        if let Some(node) = node {
            match self.open(&node, Handshake::Runner).await {
                Ok(opening) => {
                    self.check_loss(&opening).await?;
                    return Ok(node);
                }
                Err(why) => {
                    if let Some(refusal) = why.ends_the_search(self.server) {
                        return Err(refusal);
                    }
                    self.report_refusal(&node, &tried.nodes, &why.reason);
                    tried.failed(&node.id, why);
                }
            }
        }
        if was_open && self.ends_at_once() {
            return Err(self.end_lost().await);
        }
        let opening = self.establish(&[], Handshake::Runner, &mut tried);
        let opened = opening.await?;
        *token = opened.token;
        Ok(opened.node)
    }
}
