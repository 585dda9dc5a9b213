//! One server of one session, as the target of messages.
//!
//! The verbs of delivery are methods of [`Call`], each in the file of its name. This file has the
//! exchange with a known node.

use std::time::Duration;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response};

use crate::edge::client_request::ClientRequest;
use crate::edge::session::client_session::Session;
use crate::edge::worker::Worker;
use crate::model::{Health, Node, Reach, SUBJECT_TOKEN, ServerName, USER_TOKEN};
use crate::net::{Body, Failure, Unanswered, is_event_stream};
use crate::protocol::claim_headers;
use crate::protocol::passthrough::{self, Consumed};
use crate::seam::{Facts, Outbound};

use super::node_watch::{NodeWatch, SOON, USUAL};
use super::outgoing::Outgoing;

/// Longest time for a message whose answer does not matter: a server that hangs must not hold up
/// the messages to the session's other servers.
const TELL_TIMEOUT: Duration = Duration::from_secs(10);

/// What every message to a server has in common.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    pub worker: &'a Worker,
    /// The request that brought the message: strategies may read it, and some of its headers
    /// reach the server. `None` for what the gateway sends by itself.
    pub context: Option<&'a ClientRequest>,
    pub session: &'a Session,
    pub server: &'a ServerName,
}

impl<'a> Call<'a> {
    /// For messages of the client.
    #[must_use]
    pub fn of_client(
        worker: &'a Worker,
        context: &'a ClientRequest,
        session: &'a Session,
        server: &'a ServerName,
    ) -> Self {
        Self { worker, context: Some(context), session, server }
    }

    /// For messages that the gateway itself sends within the session.
    #[must_use]
    pub fn own(worker: &'a Worker, session: &'a Session, server: &'a ServerName) -> Self {
        Self { worker, context: None, session, server }
    }

    /// Sends the message to a node that is known, and waits for the head of the response.
    pub async fn send(&self, node: &Node, outgoing: &Outgoing) -> Result<Response<Body>, Failure> {
        let facts = Facts { state: outgoing.state, ..self.session.facts() };
        self.exchange(node, facts, self.request(node, outgoing)).await
    }

    /// Sends a message whose answer does not matter, within a time limit. Returns whether there was
    /// one.
    pub async fn tell(&self, node: &Node, outgoing: &Outgoing) -> bool {
        match tokio::time::timeout(TELL_TIMEOUT, self.send(node, outgoing)).await {
            Ok(Ok(_)) => return true,
            Ok(Err(failure)) => {
                tracing::debug!(node = %node.id, server = %self.server, "{failure}");
            }
            Err(_) => tracing::debug!(node = %node.id, server = %self.server, "no answer in time"),
        }
        false
    }

    /// Sends a message whose answer does not matter to the node that has the server open for the
    /// session. What broke is sent once more: a server takes such a message twice as it takes it
    /// once. Returns whether it arrived.
    pub async fn tell_holder(&self, outgoing: &Outgoing) -> bool {
        for _ in 0..2 {
            let holding = self.holder(&[]).await;
            let Some(node) = holding.node.filter(|_| !holding.must_open) else { return false };
            if self.tell(&node, outgoing).await {
                return true;
            }
        }
        false
    }

    /// The message as a request on the seam.
    #[must_use]
    pub fn request(&self, node: &Node, outgoing: &Outgoing) -> Request<Body> {
        let mut request = Request::new(Body::from(outgoing.body.clone()));
        *request.method_mut() = outgoing.method.clone();
        let headers = request.headers_mut();
        if let Some(id) = &outgoing.last_event_id {
            headers.insert(crate::protocol::headers::LAST_EVENT_ID, id.clone());
        }
        if outgoing.answer_alone {
            let json = HeaderValue::from_static(crate::protocol::headers::JSON);
            headers.insert(header::ACCEPT, json);
        }
        self.add_client_headers(node, headers);
        if let Some(trace) = &outgoing.trace {
            trace.write(headers);
        }
        request
    }

    /// Adds those of the client's headers that reach this server.
    pub fn add_client_headers(&self, node: &Node, headers: &mut HeaderMap) {
        let Some(replica) = node.servers.get(self.server) else { return };
        if replica.passthrough.is_empty() {
            return;
        }
        // By the session's principal, also in what the gateway itself sends within the session.
        if replica.passthrough.iter().any(|name| **name == *USER_TOKEN)
            && let Some(token) = self.user_token()
        {
            let name = HeaderName::from_static(USER_TOKEN);
            passthrough::let_claim_through(&name, token, headers);
        }
        let Some(client) = self.context else { return };
        let config = &self.worker.edge.config;
        let consumed = Consumed {
            keys: &config.tokens,
            affinity_cookie: &config.affinity_cookie,
            affinity_header: &config.affinity_header,
        };
        for name in &replica.passthrough {
            let Ok(name) = HeaderName::try_from(&**name) else { continue };
            if let Some(claim) = claim_headers::claim_of(name.as_str()) {
                // From the verified token alone: what the client's headers say of it does not count.
                let value = client.claim(&claim).and_then(claim_headers::value_of);
                if let Some(value) = value {
                    passthrough::let_claim_through(&name, value, headers);
                }
            } else if name == USER_TOKEN {
                // It is there already, if there is one.
            } else if name == SUBJECT_TOKEN {
                let subject = client.subject_token().filter(|_| self.gets(node, &name));
                if let Some(subject) = subject {
                    passthrough::let_claim_through(&name, subject.clone(), headers);
                }
            } else if self.gets(node, &name) {
                passthrough::let_through(&name, &client.headers, &consumed, headers);
            }
        }
    }

    /// Whether the server's node gets a header that it asks for. The file of this process
    /// decides: it names what its own servers get, and which credentials those of other nodes do.
    fn gets(&self, node: &Node, name: &HeaderName) -> bool {
        let named = || {
            let named = self.worker.edge.config.credentials.get(self.server);
            named.is_some_and(|names| names.contains(name))
        };
        node.reach == Reach::Local || !passthrough::is_credential(name) || named()
    }

    /// One exchange with a replica. It fails if the replica's node is given up.
    pub async fn exchange(
        &self,
        node: &Node,
        facts: Facts,
        request: Request<Body>,
    ) -> Result<Response<Body>, Failure> {
        if node.reach == Reach::Local {
            return Ok(self.worker.link.here(self.server, facts, request).await);
        }
        // Boxed, since it would enlarge the future of calls within this process.
        Box::pin(self.exchange_with_other_node(node, facts, request)).await
    }

    async fn exchange_with_other_node(
        &self,
        node: &Node,
        facts: Facts,
        request: Request<Body>,
    ) -> Result<Response<Body>, Failure> {
        let (Reach::Remote(base), link) = (&node.reach, &self.worker.link) else {
            return Err(Failure::NotSent("it is no other node".to_owned()));
        };
        if node.health == Health::Suspect {
            // Only a connection that begins with a handshake shows that the node is there.
            link.forget(base);
        }
        let patience = if facts.open.is_some() { SOON } else { USUAL };
        let Outbound { target, mut message } = link.outbound(base, self.server, facts, request)?;
        let mut watch = NodeWatch::over(self.worker, &node.id, SOON);
        let silent = || format!("node {} does not answer", node.id);
        let response = loop {
            let connection = tokio::select! {
                biased;
                connection = link.connection(&target) => connection?,
                () = &mut watch => return Err(Failure::NotSent(silent())),
            };
            watch.wait_for(patience);
            let sent = tokio::select! {
                biased;
                sent = connection.send(message) => sent,
                () = &mut watch => return Err(Failure::Broken(silent())),
            };
            match sent {
                Ok(response) => break response,
                Err(Unanswered::Stale(unsent)) => message = unsent,
                Err(Unanswered::Failed(failure)) => return Err(failure),
            }
        };
        if !is_event_stream(&response) {
            return Ok(response);
        }
        let watch = watch.over_body();
        Ok(response.map(|body| body.broken_when(watch)))
    }
}
