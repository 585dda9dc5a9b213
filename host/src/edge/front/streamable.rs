//! Streamable HTTP for the revisions with sessions: 2025-03-26, 2025-06-18 and
//! 2025-11-25 (basic/transports, "Streamable HTTP").
//!
//! All branches but those by which small messages pass through are boxed: a future is as large as its
//! largest branch, and this one is made for every request.

use std::mem::take;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response};

use crate::edge::access::admit::Caller;
use crate::edge::aggregate::reply::rewritten;
use crate::edge::aggregate::server_ids;
use crate::edge::client_request::{ClientRequest, NotedId};
use crate::edge::delivery::call::Call;
use crate::edge::delivery::outgoing::Outgoing;
use crate::edge::front::modern::entry::Sessionless;
use crate::edge::leaving::Leaving;
use crate::edge::metrics::StreamTransport;
use crate::edge::pass_through::pass::resumption;
use crate::edge::refusal::{Refusal, Refused};
use crate::edge::scope;
use crate::edge::session::client_session::Session;
use crate::edge::session::recent_session::RecentSession;
use crate::edge::worker::Worker;
use crate::model::{Principal, Scope, ServerName};
use crate::net::{Body, is_open_stream};
use crate::protocol::era::ladder::names_modern;
use crate::protocol::headers::{self, Accepts};
use crate::streams::response::too_late;

/// Room for headers that a connection keeps between its requests. Most clients send fewer.
const MOST_KEPT: usize = 12;

impl Worker {
    pub(in crate::edge) async fn streamable(
        &self,
        request: &mut Request<Body>,
        scope: Scope,
        caller: Caller,
        recent: &RecentSession,
    ) -> Result<Response<Body>, Refused> {
        let (headers, uri) = (take(request.headers_mut()), take(request.uri_mut()));
        let Caller { principal, quota, peer, identity, .. } = caller;
        let context = ClientRequest::new(headers, uri, peer, quota).by(identity);
        let mut served = match *request.method() {
            Method::POST => {
                self.post(&context, &scope, principal, request.body_mut(), recent).await
            }
            Method::GET => {
                self.get(&context, &scope, &principal, recent).await.map_err(|r| (r, None))
            }
            Method::DELETE => {
                self.delete(&context, &scope, &principal, recent).await.map_err(|r| (r, None))
            }
            _ => Err((Refusal::MethodNotAllowed("POST, GET, DELETE"), None)),
        };
        let noted = context.noted_id();
        match &mut served {
            Ok(response) => {
                if let Some(id) = noted {
                    response.headers_mut().insert(headers::REQUEST_ID, id);
                }
                hand_back(context.headers, response.headers_mut());
            }
            Err(_) => {
                if let Some(told) = context.told() {
                    request.extensions_mut().insert(told);
                }
                (*request.headers_mut(), *request.uri_mut()) = (context.headers, context.uri);
                if let Some(id) = noted {
                    request.extensions_mut().insert(NotedId(id));
                }
            }
        }
        served
    }

    async fn post(
        &self,
        context: &ClientRequest,
        scope: &Scope,
        principal: Principal,
        body: &mut Body,
        recent: &RecentSession,
    ) -> Result<Response<Body>, Refused> {
        check_media(context).map_err(|refusal| (refusal, None))?;
        let session = match recent.same(&self.edge, &context.headers, scope, &principal) {
            // It names a revision with sessions, as the request did for which the session was opened.
            Some(session) => session.map(Some),
            None if self.edge.config.eras.modern && names_no_session(context) => {
                let sent = Sessionless { context, scope, principal: &principal, recent };
                let missing = Refusal::MissingSession;
                return self.without_session(sent, take(body), missing).await;
            }
            None => {
                let edge = &self.edge;
                Box::pin(recent.open(edge, context, scope, &principal, false)).await
            }
        };
        let session = match session {
            Ok(Some(session)) => session,
            Ok(None) => {
                let missing = Refusal::MissingSession;
                return Box::pin(self.first(context, scope, principal, take(body), missing)).await;
            }
            Err(refusal @ Refusal::UnknownSession) => {
                // A client may send `initialize` with its old session id still attached.
                return Box::pin(self.first(context, scope, principal, take(body), refusal)).await;
            }
            Err(refusal) => return Err((refusal, None)),
        };
        let response = match scope::pass_through_server(&self.edge, scope) {
            Some(server) => {
                Call::of_client(self, context, &session, server).pass(take(body)).await?
            }
            None => {
                let message = self.whole(take(body), context).await?;
                Box::pin(self.aggregate(context, scope, &session, message)).await?
            }
        };
        Ok(self.in_use(context, &session, response, Some(&self.edge.leaving)))
    }

    /// Counts an event stream as use of its session while it is open. The stream of a call is one
    /// that the end of this process concerns.
    fn in_use(
        &self,
        context: &ClientRequest,
        session: &Session,
        response: Response<Body>,
        leaving: Option<&Leaving>,
    ) -> Response<Body> {
        if !is_open_stream(&response) {
            return response;
        }
        let held = self.edge.bindings.hold_for(session.id, &context.quota);
        let held = (held, self.edge.metrics.stream(StreamTransport::StreamableHttp));
        response.map(|body| match leaving {
            Some(leaving) => leaving.stream(body.with_guard(held)),
            None => body.with_guard(held),
        })
    }

    async fn get(
        &self,
        context: &ClientRequest,
        scope: &Scope,
        principal: &Principal,
        recent: &RecentSession,
    ) -> Result<Response<Body>, Refusal> {
        if self.edge.config.eras.modern && names_modern(&context.headers) {
            return Err(Refusal::MethodNotAllowed("POST"));
        }
        if !Accepts::of(&context.headers).events {
            return Err(Refusal::Accept("text/event-stream"));
        }
        let session = self.session(context, scope, principal, recent, false).await?;
        if let Some(sharing) = &self.edge.sharing {
            // What the client has not been told yet may be known to another coordinator alone.
            sharing.refresh(session.id).await;
        }
        let response = match scope::pass_through_server(&self.edge, scope) {
            Some(server) => Call::of_client(self, context, &session, server).get_stream().await?,
            None => self.get_aggregate(context, scope, &session).await?,
        };
        let response = self.while_let_in(response, scope, (principal, context.identity.as_ref()));
        Ok(self.in_use(context, &session, response, None))
    }

    async fn get_aggregate(
        &self,
        context: &ClientRequest,
        scope: &Scope,
        session: &Session,
    ) -> Result<Response<Body>, Refusal> {
        let last_event_id = context.headers.get(headers::LAST_EVENT_ID);
        let last = last_event_id.and_then(|id| id.to_str().ok());
        // The stream of a request is kept by its server's runner. Any other id may be made up by
        // the client: it opens no server, and none outside the scope.
        let of_request = last.and_then(server_ids::of_event).and_then(|(server, own)| {
            let members = scope::members(self, scope);
            let last_event_id = HeaderValue::from_str(own).ok();
            members.iter().any(|member| member.server == server).then_some(())?;
            let outgoing = Outgoing::get(last_event_id);
            Some((server, resumption(&outgoing)?, outgoing))
        });
        let Some((server, place, outgoing)) = of_request else {
            // The stream holds the session, which may have been forgotten since it was recognised.
            self.edge.bindings.goes_on(session.id, &context.quota);
            return self.aggregate_stream(scope, session, context.identity.as_ref(), last);
        };
        // Another token of the same principal may use less than the one that has begun the stream.
        if !last.is_some_and(|last| self.may_resume(scope, session, &server, last)) {
            let request = place.request.unwrap_or_else(|| "null".to_owned());
            return Ok(too_late(last.unwrap_or_default(), &request));
        }
        let response =
            Call::of_client(self, context, session, &server).resume(&outgoing, place).await?;
        let mut rewriter = self.rewriter(scope, session, &server);
        rewriter.tasks = true;
        let no_words = None::<fn(&ServerName) -> Bytes>;
        Ok(rewritten(response, rewriter, no_words, self.edge.config.line).await)
    }

    /// Ends the session at all its servers. Its id is refused from now on.
    async fn delete(
        &self,
        context: &ClientRequest,
        scope: &Scope,
        principal: &Principal,
        recent: &RecentSession,
    ) -> Result<Response<Body>, Refusal> {
        if self.edge.config.eras.modern && names_modern(&context.headers) {
            return Err(Refusal::MethodNotAllowed("POST"));
        }
        let session = self.session(context, scope, principal, recent, true).await?;
        self.edge.metrics.ended();
        self.end(&session).await;
        Ok(Response::new(Body::Empty))
    }

    /// The session of a request that cannot begin one. `ends` says whether it ends it.
    async fn session(
        &self,
        context: &ClientRequest,
        scope: &Scope,
        principal: &Principal,
        recent: &RecentSession,
        ends: bool,
    ) -> Result<Arc<Session>, Refusal> {
        if let Some(same) = recent.same(&self.edge, &context.headers, scope, principal) {
            return same;
        }
        let opening = recent.open(&self.edge, context, scope, principal, ends);
        Box::pin(opening).await?.ok_or(Refusal::MissingSession)
    }
}

/// Gives the response the map of its request. hyper reads the head of a connection's next request into
/// the last response's map, which else has to grow for each of them.
fn hand_back(mut spare: HeaderMap, headers: &mut HeaderMap) {
    if spare.capacity() <= headers.capacity() || spare.capacity() > MOST_KEPT {
        return;
    }
    spare.clear();
    // To move them costs more, since most have one.
    for (name, value) in &*headers {
        spare.append(name.clone(), value.clone());
    }
    *headers = spare;
}

/// Whether a message is none of a session, by its head: its body then says of which era it is. One
/// that names a revision without sessions is none, whatever session it names.
fn names_no_session(context: &ClientRequest) -> bool {
    let names_one = context.headers.keys().any(|name| *name == headers::SESSION);
    !names_one || names_modern(&context.headers)
}

fn check_media(context: &ClientRequest) -> Result<(), Refusal> {
    if headers::is_usual_post(&context.headers) {
        return Ok(());
    }
    if !headers::is_type(&context.headers, headers::JSON) {
        return Err(Refusal::ContentType);
    }
    if headers::is_coded(&context.headers) {
        return Err(Refusal::ContentEncoding);
    }
    let accepts = Accepts::of(&context.headers);
    if accepts.json && accepts.events {
        Ok(())
    } else {
        Err(Refusal::Accept("application/json and text/event-stream"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_keeps_its_headers_in_the_map_of_its_request() {
        let mut request = HeaderMap::with_capacity(8);
        request.insert("x-request", HeaderValue::from_static("a"));
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-a", "1"), ("content-type", "b"), ("x-a", "2")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let (before, room) = (headers.clone(), request.capacity());
        hand_back(request, &mut headers);
        assert_eq!((headers.capacity(), &headers), (room, &before));
    }
}
