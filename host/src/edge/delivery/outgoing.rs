//! A message as it goes out to a replica, and the one exchange whose outcome does not matter.

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request};

use crate::edge::client_request::ClientRequest;
use crate::edge::session::client_session::Session;
use crate::edge::worker::Worker;
use crate::model::{Node, ServerName};
use crate::net::Body;
use crate::protocol::headers;

/// A message that can be sent again.
#[derive(Debug, Clone)]
pub struct Outgoing {
    pub method: Method,
    pub body: Bytes,
    pub last_event_id: Option<HeaderValue>,
}

impl Outgoing {
    #[must_use]
    pub fn post(body: Bytes) -> Self {
        Self { method: Method::POST, body, last_event_id: None }
    }

    #[must_use]
    pub fn get(last_event_id: Option<HeaderValue>) -> Self {
        Self { method: Method::GET, body: Bytes::new(), last_event_id }
    }

    #[must_use]
    pub fn delete() -> Self {
        Self { method: Method::DELETE, body: Bytes::new(), last_event_id: None }
    }
}

/// Puts the client's headers that the operator lets through onto a request on the
/// seam.
pub fn let_through(
    node: &Node,
    server: &ServerName,
    client: Option<&ClientRequest>,
    headers: &mut HeaderMap,
) {
    let (Some(client), Some(replica)) = (client, node.servers.get(server)) else { return };
    for name in &replica.passthrough {
        if let Ok(name) = HeaderName::try_from(&**name) {
            headers::let_through(&name, &client.headers, headers);
        }
    }
}

impl Worker {
    /// The request for a replica: the message, and of the client's headers those
    /// that the operator lets through to this server.
    pub(in crate::edge) fn request_for(
        &self,
        node: &Node,
        server: &ServerName,
        outgoing: &Outgoing,
        client: Option<&ClientRequest>,
    ) -> Request<Body> {
        let mut request = Request::new(Body::from(outgoing.body.clone()));
        *request.method_mut() = outgoing.method.clone();
        let headers = request.headers_mut();
        if let Some(id) = &outgoing.last_event_id {
            headers.insert(headers::LAST_EVENT_ID, id.clone());
        }
        let_through(node, server, client, headers);
        request
    }
}

/// One server that hangs must not hold up what all are told.
const TELL_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

impl Worker {
    /// One exchange with one node whose outcome does not matter, bounded in time.
    pub(in crate::edge) async fn tell(
        &self,
        node: &Node,
        session: &Session,
        server: &ServerName,
        outgoing: &Outgoing,
        client: Option<&ClientRequest>,
    ) {
        let request = self.request_for(node, server, outgoing, client);
        let call = self.call(node, server, session.facts(), request);
        match tokio::time::timeout(TELL_TIMEOUT, call).await {
            Ok(Ok(_)) => {}
            Ok(Err(failure)) => tracing::debug!(node = %node.id, server = %server, "{failure}"),
            Err(_) => tracing::debug!(node = %node.id, server = %server, "no answer"),
        }
    }
}
