//! Streams outlive the requests that opened them: one ends when a reload of the settings shuts out who
//! reads it.

use std::sync::Arc;

use http::Response;

use crate::edge::scope::{self, Client};
use crate::edge::worker::{Edge, Worker};
use crate::model::{Principal, Scope};
use crate::net::{Body, is_event_stream};

use super::identity::CallerIdentity;

impl Worker {
    /// The same response. If it is an event stream, it ends once the principal is shut out of the
    /// scope, or the scope is gone, or the rules leave it something else of the scope.
    pub(in crate::edge) fn while_let_in(
        &self,
        response: Response<Body>,
        scope: &Scope,
        (principal, identity): Client<'_>,
    ) -> Response<Body> {
        if !is_event_stream(&response) {
            return response;
        }
        let client = (principal.clone(), identity.cloned());
        let end = shut_out(Arc::clone(&self.edge), scope.clone(), client);
        response.map(|body| body.until(end))
    }
}

async fn shut_out(
    mut edge: Arc<Edge>,
    scope: Scope,
    (principal, identity): (Principal, Option<Arc<CallerIdentity>>),
) {
    let mut replaced = edge.latest.replaced();
    loop {
        let now = edge.now();
        if scope::is_shut_out(&edge, &now, &scope, (&principal, identity.as_ref())) {
            return;
        }
        edge = now;
        // Cannot fail: the edge has the sender.
        let _ = replaced.changed().await;
    }
}
