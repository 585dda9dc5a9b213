//! The stream of an HTTP+SSE client: opened, left and come back to.
//!
//! A client whose stream breaks off, with the gateway or on the way, comes back by itself and never
//! initializes again: it sends the id of the last event that it has seen. That id names the session
//! as a sealed id of Streamable HTTP does, for one scope and principal, so a gateway that was
//! started again knows the session too.

use std::sync::Arc;
use std::time::Duration;

use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, Request, Response};

use crate::edge::access::admit::Caller;
use crate::edge::access::quota::CountedStream;
use crate::edge::client_request::ClientRequest;
use crate::edge::metrics::StreamTransport;
use crate::edge::refusal::{Refusal, Refused};
use crate::edge::relay::content_type;
use crate::edge::scope;
use crate::edge::session::client_session::Session;
use crate::edge::worker::Worker;
use crate::model::{Principal, Scope};
use crate::net::Body;
use crate::protocol::headers::{self, Accepts};
use crate::sync::Watcher;

use super::sse_session::{SessionBounds, SseSession};
use super::sse_stream::ClientStream;

/// How long a session waits for its client to come back. Clients do so after a second, as they are
/// asked to; one that has left for good keeps its servers no longer than that.
const AWAY: Duration = Duration::from_secs(5);
/// Time between two notes that a session is in use, as an open stream is even in silence. Shorter
/// than any useful affinity timeout.
const STILL_THERE: Duration = Duration::from_secs(5);

/// How a session's last stream has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// The client has left.
    Left,
    /// The gateway drains: the client may come back to the next one.
    Drained,
}

impl Worker {
    /// Opens a client's stream, of a new session or of the one to which it comes back.
    pub(in crate::edge) async fn event_stream(
        &self,
        request: &Request<Body>,
        caller: Caller,
        draining: &Watcher,
    ) -> Result<Response<Body>, Refused> {
        // A client that tries Streamable HTTP first goes on with HTTP+SSE after this answer.
        if request.method() != Method::GET {
            return Err((Refusal::MethodNotAllowed("GET"), None));
        }
        let refused = |refusal| (refusal, None);
        if !Accepts::of(request.headers()).events {
            return Err(refused(Refusal::Accept("text/event-stream")));
        }
        let last = request.headers().get(headers::LAST_EVENT_ID);
        let last = last.and_then(|id| id.to_str().ok()).map(str::to_owned);
        let path = request.uri().path();
        let scope =
            scope::scope(self, path, last.is_some(), caller.reach()).await.map_err(refused)?;
        let known = match &last {
            Some(last) => self.known_stream(last, &scope, request, &caller, draining).await,
            None => None,
        };
        let events = match known {
            Some(events) => events,
            None => self.new_stream(scope.clone(), &caller, request.headers(), draining)?,
        };
        let counted = self.edge.metrics.stream(StreamTransport::HttpSse);
        let body = Body::Stream(Box::pin(events)).with_guard(counted);
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        content_type(headers, headers::EVENT_STREAM);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        Ok(self.while_let_in(response, &scope, (&caller.principal, caller.identity.as_ref())))
    }

    fn new_stream(
        &self,
        scope: Scope,
        caller: &Caller,
        headers: &HeaderMap,
        draining: &Watcher,
    ) -> Result<ClientStream, Refused> {
        let sessions = &self.edge.sse_sessions;
        let live = sessions.open(scope, caller.principal.clone(), self.bounds());
        let gone = |refusal| {
            sessions.remove(live.id);
            (refusal, None)
        };
        let events = live.stream(&self.edge.keys, None).ok_or(Refusal::NoKey).map_err(gone)?;
        // Counted from now on: its `initialize` may come late or never.
        let counted = self.admit_stream(&caller.quota, headers, live.id).map_err(gone)?;
        tokio::spawn(self.clone().serve_stream(Arc::clone(&live), draining.clone(), counted));
        Ok(events)
    }

    /// A stream of the session that the client's last event has named. `None` for every reason
    /// alike: its first message then tells the client that there is no session.
    async fn known_stream(
        &self,
        last: &str,
        scope: &Scope,
        request: &Request<Body>,
        caller: &Caller,
        draining: &Watcher,
    ) -> Option<ClientStream> {
        let keys = &self.edge.keys;
        let Some(session) = Session::of_event(&self.edge, last, scope, &caller.principal).await
        else {
            return self.unnamed_stream(last, scope, &caller.principal);
        };
        self.edge.bindings.recognise(session.id, &caller.quota);
        let sessions = &self.edge.sse_sessions;
        let (live, is_new) = sessions.come_back(session, scope.clone(), self.bounds());
        // It belongs to what its client could use when it began.
        if live.scope != *scope {
            return None;
        }
        let events = live.stream(keys, Some(last));
        if is_new {
            tracing::debug!(session = %live.id.short(), "an HTTP+SSE client has come back");
            let counted = self.readmit_stream(&caller.quota, live.id);
            let serving = self.clone().serve_stream(Arc::clone(&live), draining.clone(), counted);
            tokio::spawn(serving);
            let (headers, uri) = (request.headers().clone(), request.uri().clone());
            let context = ClientRequest::new(headers, uri, caller.peer, caller.quota.clone())
                .by(caller.identity.clone());
            self.listen_again(context, &live).await;
        }
        events
    }

    /// A stream of a session whose client has not read the answer to its `initialize`.
    fn unnamed_stream(
        &self,
        last: &str,
        scope: &Scope,
        principal: &Principal,
    ) -> Option<ClientStream> {
        let id = self.edge.keys.open_unnamed_event(last, scope, principal)?;
        let live = self.edge.sse_sessions.find(&id, principal)?;
        (live.scope == *scope).then_some(())?;
        live.stream(&self.edge.keys, None)
    }

    /// Listens to the servers of a session whose client has sent `initialized` to another process.
    async fn listen_again(&self, context: ClientRequest, live: &Arc<SseSession>) {
        if let (Some(session), Ok(place)) = (live.session(), live.aside().await)
            && live.claim_feeding()
        {
            self.clone().feed(context, Arc::clone(live), session, place, true);
        }
    }

    fn bounds(&self) -> SessionBounds {
        let config = &self.edge.config;
        SessionBounds {
            requests: u32::try_from(config.in_flight).unwrap_or(u32::MAX),
            bytes: u32::try_from(config.buffered_bytes).unwrap_or(u32::MAX),
            keep_alive: config.keep_alive,
            unread: Arc::clone(&self.edge.connections.unread),
            base_path: config.base_path.clone(),
        }
    }

    /// Waits until the client has left or the gateway drains, and then ends the session. After a
    /// drain it goes on at the gateway to which the client comes back: its servers keep it.
    async fn serve_stream(
        self,
        live: Arc<SseSession>,
        mut draining: Watcher,
        counted: CountedStream,
    ) {
        let ended = tokio::select! {
            () = stays_away(&live) => Ended::Left,
            () = self.keep_in_use(&live) => Ended::Left,
            () = draining.raised() => Ended::Drained,
        };
        if ended == Ended::Drained {
            // Answers to requests in progress come on this stream and on no other. The end of the
            // process, at `drainDeadline`, bounds this.
            live.answered().await;
        }
        self.edge.sse_sessions.remove(live.id);
        live.stop().await;
        let goes_on = ended == Ended::Drained && live.is_open();
        if let Some(session) = live.session().filter(|_| !goes_on) {
            if live.is_open() {
                self.edge.metrics.ended();
            }
            self.end(&session).await;
        }
        drop(counted);
        live.outbox.end();
    }

    /// Notes again and again that the session is in use. Never returns.
    async fn keep_in_use(&self, live: &SseSession) {
        let mut timer = tokio::time::interval(STILL_THERE);
        loop {
            timer.tick().await;
            if live.is_open() {
                self.edge.bindings.begin(live.id);
            }
        }
    }
}

/// Waits until the client has left, and has not come back for a while. Before `initialize` is
/// answered there is nothing to come back to.
async fn stays_away(live: &SseSession) {
    loop {
        live.outbox.left().await;
        if !live.is_open() {
            return;
        }
        if tokio::time::timeout(AWAY, live.outbox.came_back()).await.is_err() {
            return;
        }
    }
}
