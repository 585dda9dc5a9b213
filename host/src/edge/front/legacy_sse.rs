//! HTTP+SSE, the transport of 2024-11-05 (basic/transports, "HTTP with SSE"). `GET /sse` opens the
//! stream on which the client reads all messages, and names the address to which it posts its own.
//! There is no DELETE: a session ends when its client closes the stream and does not come back.
//!
//! `initialize` negotiates the revision as over Streamable HTTP; an `MCP-Protocol-Version` header
//! is ignored. Messages are handled as over Streamable HTTP too, and every response, whatever its
//! shape, becomes events of the stream.

use std::mem::take;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};

use crate::edge::access::admit::Caller;
use crate::edge::access::fair_share::SharePlace;
use crate::edge::access::identity::TokenGrounds;
use crate::edge::client_request::ClientRequest;
use crate::edge::delivery::call::Call;
use crate::edge::observed::call::ObservedCall;
use crate::edge::observed::notes::CallOrigin;
use crate::edge::refusal::{Refusal, Refused, malformed};
use crate::edge::relay::json;
use crate::edge::routing::bind;
use crate::edge::scope;
use crate::edge::session::client_session::Session;
use crate::edge::worker::Worker;
use crate::model::Principal;
use crate::net::{Body, collect};
use crate::protocol::headers;
use crate::protocol::initialize;
use crate::protocol::jsonrpc::{self, Envelope, Kind};
use crate::protocol::methods::{self, Destination};
use crate::protocol::version::Version;

use super::begin::params_of;
use super::sse_session::{NoPlace, RequestSlot, SseSession};

/// How long the refusal of a first message waits for room on the stream.
const ANSWER_WAIT: Duration = Duration::from_secs(1);
/// How long a message waits for the stream of its session, which its client opens again after the
/// gateway was started again.
const STREAM_WAIT: Duration = Duration::from_secs(3);
/// Bytes of what is kept of all requests that wait for their answers.
pub const MOST_POSTED: usize = 256 * 1024 * 1024;
/// What each of them costs beside what its client has sent. No connection waits with it.
const EACH: usize = 16 * 1024;
/// What a client can do whose stream has a session already.
const ANOTHER: &str = "open another stream to start another";
/// The `Accept` of every message, whatever the client sends with its POST: its stream takes both.
const BOTH: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");

impl Worker {
    /// Takes what a client has posted: one message, or a batch. Answers come on the stream.
    pub(in crate::edge) async fn messages(
        &self,
        request: &mut Request<Body>,
        caller: Caller,
    ) -> Result<Response<Body>, Refused> {
        if request.method() != Method::POST {
            return Err((Refusal::MethodNotAllowed("POST"), None));
        }
        let refused = |refusal| (refusal, None);
        if !headers::is_type(request.headers(), headers::JSON) {
            return Err(refused(Refusal::ContentType));
        }
        if headers::is_coded(request.headers()) {
            return Err(refused(Refusal::ContentEncoding));
        }
        let id = bind::query(request.uri(), "sessionId").ok_or(refused(Refusal::MissingStream))?;
        let live = self.posted_to(&id, &caller.principal).await;
        // A reload may have taken the scope away, or changed what the rules leave of it; the stream ends
        // for the same reason. A token may say something else than the one that opened it.
        let live = live.filter(|live| {
            let client = (&caller.principal, caller.identity.as_ref());
            let token = caller.identity.as_ref().and_then(|identity| identity.token.as_ref());
            let is_for_it = |token: &TokenGrounds| {
                scope::is_behind(&self.edge.config, &token.paths, &live.scope)
            };
            !scope::is_shut_out(&self.edge, &self.edge, &live.scope, client)
                && token.is_none_or(is_for_it)
        });
        let live = live.ok_or(refused(Refusal::UnknownSession))?;
        let Caller { peer, quota, identity, .. } = caller;
        let headers = asking_for_both(take(request.headers_mut()));
        let context = ClientRequest::new(headers, take(request.uri_mut()), peer, quota);
        let context = Arc::new(context.by(identity));
        let body = take(request.body_mut());
        let message = match live.session() {
            Some(_) => self.whole(body, &context).await?,
            None => self.whole_first(body, &context).await?,
        };
        let takes_batches =
            live.session().is_some_and(|session| session.version == Version::V2025_03_26);
        let batch = if takes_batches { jsonrpc::batch(&message) } else { Ok(None) };
        match batch.map_err(|e| refused(Refusal::Malformed(e)))? {
            None => self.take(context, &live, message).await?,
            Some(parts) if parts.len() > self.edge.config.in_flight => {
                return Err(refused(Refusal::LongBatch(self.edge.config.in_flight)));
            }
            Some(parts) => {
                let envelopes = parts.iter().map(|part| Envelope::parse(part.get().as_bytes()));
                if let Some(error) = envelopes.filter_map(Result::err).next() {
                    return Err(refused(Refusal::Malformed(error)));
                }
                for part in parts {
                    let part = message.slice_ref(part.get().as_bytes());
                    self.take(Arc::clone(&context), &live, part).await?;
                }
            }
        }
        let mut response = Response::new(Body::from(Bytes::from_static(b"Accepted")));
        *response.status_mut() = StatusCode::ACCEPTED;
        Ok(response)
    }

    /// The session that a message is posted to. A client may be faster with a message than with its
    /// stream when it comes back to a gateway that was started again.
    async fn posted_to(&self, id: &str, principal: &Principal) -> Option<Arc<SseSession>> {
        let (edge, id) = (&self.edge, self.edge.keys.open_stream(id)?);
        if edge.records.is_ended(id.session) {
            return None;
        }
        if let Some(live) = edge.sse_sessions.find(&id, principal) {
            return Some(live);
        }
        let is_from_before = id.minted_at < edge.cold_start.started_at();
        if !is_from_before {
            return None;
        }
        edge.sse_sessions.wait_for(&id, principal, STREAM_WAIT).await
    }

    /// Takes one message. It is at its server, or on the way there, when this returns.
    async fn take(
        &self,
        context: Arc<ClientRequest>,
        live: &Arc<SseSession>,
        message: Bytes,
    ) -> Result<(), Refused> {
        let refused = |refusal| (refusal, None);
        let envelope = Envelope::parse(&message).map_err(|e| malformed(e, &message))?;
        if let Some(session) = live.first_use() {
            self.edge.records.use_it(session.id, session.is_large()).await;
        }
        match envelope.kind() {
            Kind::Request => {
                let id = envelope.id_text().unwrap_or("null").to_owned();
                let begins = matches!(envelope.method(), methods::INITIALIZE | methods::PING);
                let has_session = live.session().is_some();
                if !has_session && !begins {
                    return Err(self.refused_twice(live, id, Refusal::NotInitialized).await);
                }
                if has_session && envelope.method() == methods::INITIALIZE {
                    let refusal = Refusal::Initialized(ANOTHER);
                    return Err(self.refused_twice(live, id, refusal).await);
                }
                let is_busy = |refusal| (refusal, Some(id.clone()));
                let place = live.request().await.map_err(no_place).map_err(is_busy)?;
                let share = self.posted_share(&context, &message).map_err(is_busy)?;
                let live = Arc::clone(live);
                let asked = PostedRequest { live, id, method: envelope.method().to_owned() };
                let task = self.clone().run(context, asked, message.clone(), (place, share));
                begin(task).await;
            }
            Kind::Notification | Kind::Response => {
                let place = live.aside().await.map_err(no_place).map_err(refused)?;
                let begins = envelope.method() == methods::INITIALIZED;
                self.aside(context, Arc::clone(live), message.clone(), begins, place).await?;
            }
        }
        Ok(())
    }

    /// The refusal of a request that concerns the session as a whole: on a stream that has none, as
    /// that of a client that came back without naming one, and of a second `initialize`. Clients
    /// start anew where a POST is answered like that; a proxy in between may hand on the stream
    /// alone, so the request is answered there, too.
    async fn refused_twice(&self, live: &SseSession, id: String, refusal: Refusal) -> Refused {
        let answer = refusal.response(Some(&id));
        if let Ok(answer) = collect(answer.into_body(), self.edge.config.line).await {
            // A client that does not read gets the other answer alone.
            let _ = tokio::time::timeout(ANSWER_WAIT, live.send(answer)).await;
        }
        (refusal, Some(id))
    }

    /// Delivers a message that gets no answer. It is at its servers before the POST is answered, so
    /// that no later message overtakes `initialized`.
    async fn aside(
        &self,
        context: Arc<ClientRequest>,
        live: Arc<SseSession>,
        message: Bytes,
        begins: bool,
        place: RequestSlot,
    ) -> Result<(), Refused> {
        let session = live.session().ok_or((Refusal::NotInitialized, None))?;
        let sent = tokio::select! {
            sent = self.exchange(&context, &live, &session, message) => sent,
            () = live.over() => return Err((Refusal::UnknownSession, None)),
        };
        if let Err((refusal, _)) = sent {
            // The POST succeeds all the same: the message gets no answer, and some SDKs give up a
            // session if a POST fails.
            tracing::debug!(
                session = %live.id.short(),
                "a notification or response was not delivered: {refusal}"
            );
        }
        if begins && live.claim_feeding() {
            self.clone().feed(ClientRequest::clone(&context), live, session, place, false);
        }
        Ok(())
    }

    /// Runs a request until it is answered or the session is over.
    async fn run(
        self,
        context: Arc<ClientRequest>,
        asked: PostedRequest,
        message: Bytes,
        held: (RequestSlot, SharePlace),
    ) {
        let live = Arc::clone(&asked.live);
        tokio::select! {
            () = self.answer(&context, &asked, message) => {}
            () = live.over() => {}
        }
        drop(held);
    }

    /// Room for what is kept of a request until it is answered.
    fn posted_share(
        &self,
        context: &ClientRequest,
        message: &Bytes,
    ) -> Result<SharePlace, Refusal> {
        let (edge, whom) = (&self.edge, &context.quota);
        let bytes = EACH + context.head_bytes() + message.len();
        edge.posted.take(whom, bytes).ok_or_else(|| {
            edge.bindings.met.posted.note_refused(|since| {
                tracing::warn!(
                    since,
                    "requests of {whom} over HTTP+SSE that wait for their answers hold as much as they \
                     may: one more is refused"
                );
            });
            Refusal::HoldsTooMuch("requests over HTTP+SSE; wait for answers, and send fewer at a time")
        })
    }

    async fn answer(&self, context: &ClientRequest, asked: &PostedRequest, message: Bytes) {
        let is_list = matches!(methods::destination(&asked.method), Destination::List(_))
            && scope::pass_through_server(&self.edge, &asked.live.scope).is_none();
        let _turn = if is_list { asked.live.list_turn().await } else { None };
        let response = match (asked.method.as_str(), asked.live.session()) {
            (methods::INITIALIZE, _) => match self.start_session(context, asked, &message).await {
                Ok((name, answer)) => {
                    // Fails only if the client has left.
                    let _ = asked.live.outbox.send_named(&name, answer).await;
                    return;
                }
                Err(refused) => Err(refused),
            },
            (methods::PING, None) => Ok(json(StatusCode::OK, jsonrpc::result(&asked.id, b"{}"))),
            (_, None) => Err((Refusal::NotInitialized, None)),
            (_, Some(session)) => self.exchange(context, &asked.live, &session, message).await,
        };
        let response = response.unwrap_or_else(|(refusal, _)| {
            self.edge.metrics.refusal(&refusal);
            refusal.response(Some(asked.id.as_str()))
        });
        // Fails only if the client has left.
        let _ = asked.live.answer(&asked.id, response, self.edge.config.line).await;
    }

    /// Handles `initialize`, which begins the session of the stream. Returns the answer, and the id
    /// of the event that brings it: with that the client comes back.
    async fn start_session(
        &self,
        context: &ClientRequest,
        asked: &PostedRequest,
        message: &Bytes,
    ) -> Result<(String, Bytes), Refused> {
        let refused = |refusal| (refusal, None);
        let envelope = Envelope::parse(message).map_err(|e| refused(Refusal::Malformed(e)))?;
        let params = params_of(&envelope).map_err(refused)?;
        let live = &asked.live;
        let is_single_server = scope::pass_through_server(&self.edge, &live.scope).is_some();
        let Some(session) = live.initialize(params, is_single_server) else {
            return Err(refused(Refusal::Initialized(ANOTHER)));
        };
        let origin = CallOrigin { context: Some(context), session: &session, scope: &live.scope };
        let call = ObservedCall::begin(self, origin, message);
        let begun = self.begin(context, &live.scope, &session, (message, &call)).await;
        match &begun {
            Ok((result, _)) => drop(call.answered(json(StatusCode::OK, result.clone()))),
            Err(refusal) => call.refused(refusal, Some(&asked.id)),
        }
        let granted = begun.map(|(result, _)| initialize::granted(result, &session.params));
        live.initialized(granted.as_ref().ok());
        let result = granted.map_err(refused)?.result;
        self.edge.metrics.opened();
        let session = live.session().unwrap_or(session);
        let name = session.seal_event(&self.edge, &live.scope, &context.quota).map_err(refused)?;
        Ok((name, jsonrpc::result(&asked.id, &result)))
    }

    /// Handles a message as Streamable HTTP does.
    async fn exchange(
        &self,
        context: &ClientRequest,
        live: &SseSession,
        session: &Session,
        message: Bytes,
    ) -> Result<Response<Body>, Refused> {
        match scope::pass_through_server(&self.edge, &live.scope) {
            Some(server) => {
                let call = Call::of_client(self, context, session, server);
                call.pass(Body::from(message)).await
            }
            None => self.aggregate(context, &live.scope, session, message).await,
        }
    }
}

/// A request that waits for its answer.
struct PostedRequest {
    live: Arc<SseSession>,
    id: String,
    method: String,
}

/// Polls a task once here, and spawns the rest. So requests begin in the order in which they came.
async fn begin(task: impl Future<Output = ()> + Send + 'static) {
    let mut task = Box::pin(task);
    let is_done = std::future::poll_fn(|cx| Poll::Ready(task.as_mut().poll(cx).is_ready())).await;
    if !is_done {
        tokio::spawn(task);
    }
}

fn asking_for_both(mut headers: HeaderMap) -> HeaderMap {
    headers.insert(header::ACCEPT, BOTH);
    headers
}

fn no_place(why: NoPlace) -> Refusal {
    match why {
        NoPlace::Taken(count) => Refusal::Busy(count),
        NoPlace::Over => Refusal::UnknownSession,
    }
}
