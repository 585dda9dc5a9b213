//! HTTP+SSE, the transport of 2024-11-05 (basic/transports, "HTTP with SSE"). `GET /sse` opens the
//! stream on which the client reads all messages, and names the address to which it posts its own.
//! There is no DELETE: closing the stream ends the session.
//!
//! `initialize` negotiates the revision as over Streamable HTTP; an `MCP-Protocol-Version` header
//! is ignored. Messages are handled as over Streamable HTTP too, and every response, whatever its
//! shape, becomes events of the stream.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use tokio::sync::oneshot;

use crate::edge::access::admit::Caller;
use crate::edge::access::quota::CountedStream;
use crate::edge::client_request::ClientRequest;
use crate::edge::delivery::call::Call;
use crate::edge::refusal::{Refusal, Refused};
use crate::edge::relay::{content_type, json};
use crate::edge::routing::bind;
use crate::edge::scope;
use crate::edge::session::client_session::Session;
use crate::edge::worker::Worker;
use crate::net::Body;
use crate::protocol::headers::{self, Accepts};
use crate::protocol::initialize;
use crate::protocol::jsonrpc::{self, Envelope, Kind};
use crate::protocol::methods::{self, Destination};
use crate::protocol::version::Version;
use crate::sync::Watcher;

use super::begin::params_of;
use super::sse_session::{NoPlace, OpenedStream, RequestSlot, SessionBounds, SseSession};

/// How long a drain waits for the answers to requests in progress.
const FAREWELL: Duration = Duration::from_secs(5);
/// Time between two notes that a session is in use, as an open stream is even in silence. Shorter
/// than any useful affinity timeout.
const STILL_THERE: Duration = Duration::from_secs(5);
/// The `Accept` of every message, whatever the client sends with its POST: its stream takes both.
const BOTH: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");

impl Worker {
    /// Opens a client's stream.
    pub(in crate::edge) async fn event_stream(
        &self,
        request: Request<Body>,
        caller: Caller,
        draining: &Watcher,
    ) -> Result<Response<Body>, Refused> {
        // A client that tries Streamable HTTP first goes on with HTTP+SSE after this answer.
        if request.method() != Method::GET {
            return Err((Refusal::MethodNotAllowed("GET"), None));
        }
        if !Accepts::of(request.headers()).events {
            return Err((Refusal::Accept("text/event-stream"), None));
        }
        let scope = scope::scope(self, request.uri().path(), false, caller.view.as_deref())
            .await
            .map_err(|refusal| (refusal, None))?;
        let config = &self.edge.config;
        let bounds = SessionBounds {
            requests: u32::try_from(config.in_flight).unwrap_or(u32::MAX),
            bytes: u32::try_from(config.buffered_bytes).unwrap_or(u32::MAX),
            keep_alive: config.keep_alive,
            unread: Arc::clone(&self.edge.connections.unread),
            base_path: config.base_path.clone(),
        };
        let sessions = &self.edge.sse_sessions;
        let opened = sessions.open(&self.edge.keys, scope, caller.principal, bounds);
        let OpenedStream { live, events, last } = opened.ok_or((Refusal::NoKey, None))?;
        // Counted from now on: its `initialize` may come late or never.
        let counted = match self.admit_stream(&caller.quota, request.headers(), live.id) {
            Ok(counted) => counted,
            Err(refusal) => {
                sessions.remove(live.id);
                return Err((refusal, None));
            }
        };
        tokio::spawn(self.clone().serve_stream(live, draining.clone(), last, counted));
        let mut response = Response::new(Body::Stream(Box::pin(events)));
        let headers = response.headers_mut();
        content_type(headers, headers::EVENT_STREAM);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        Ok(response)
    }

    /// Waits until the client leaves or the gateway drains, and then ends the session.
    async fn serve_stream(
        self,
        live: Arc<SseSession>,
        mut draining: Watcher,
        last: oneshot::Sender<()>,
        counted: CountedStream,
    ) {
        let drains = tokio::select! {
            () = live.left() => false,
            () = self.keep_in_use(&live) => false,
            () = draining.raised() => true,
        };
        if drains {
            // Answers to requests in progress come on this stream and on no other.
            let _ = tokio::time::timeout(FAREWELL, live.answered()).await;
        }
        self.edge.sse_sessions.remove(live.id);
        live.stop().await;
        if live.is_open() {
            self.edge.metrics.ended();
        }
        if let Some(session) = live.session() {
            self.end(&session).await;
        }
        drop(counted);
        drop(last);
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

    /// Takes what a client has posted: one message, or a batch. Answers come on the stream.
    pub(in crate::edge) async fn messages(
        &self,
        request: Request<Body>,
        caller: Caller,
    ) -> Result<Response<Body>, Refused> {
        let (parts, body) = request.into_parts();
        if parts.method != Method::POST {
            return Err((Refusal::MethodNotAllowed("POST"), None));
        }
        let refused = |refusal| (refusal, None);
        if !headers::is_type(&parts.headers, headers::JSON) {
            return Err(refused(Refusal::ContentType));
        }
        let id = bind::query(&parts.uri, "sessionId").ok_or(refused(Refusal::MissingStream))?;
        let found = self.edge.sse_sessions.find(&self.edge.keys, &id, &caller.principal);
        let live = found.ok_or(refused(Refusal::UnknownSession))?;
        let Caller { peer, quota, .. } = caller;
        let headers = asking_for_both(parts.headers);
        let context = Arc::new(ClientRequest { headers, uri: parts.uri, peer, quota });
        let message = match live.session() {
            Some(_) => self.whole(body, &context).await,
            None => self.whole_first(body, &context).await,
        };
        let message = message.map_err(refused)?;
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

    /// Takes one message. It is at its server, or on the way there, when this returns.
    async fn take(
        &self,
        context: Arc<ClientRequest>,
        live: &Arc<SseSession>,
        message: Bytes,
    ) -> Result<(), Refused> {
        let refused = |refusal| (refusal, None);
        let envelope = Envelope::parse(&message).map_err(|e| refused(Refusal::Malformed(e)))?;
        match envelope.kind() {
            Kind::Request => {
                let id = envelope.id_text().unwrap_or("null").to_owned();
                let is_busy = |refusal| (refusal, Some(id.clone()));
                let place = live.request().await.map_err(no_place).map_err(is_busy)?;
                let live = Arc::clone(live);
                let asked = PostedRequest { live, id, method: envelope.method().to_owned() };
                let task = self.clone().run(context, asked, message.clone(), place);
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
            self.clone().feed(ClientRequest::clone(&context), live, session, place);
        }
        Ok(())
    }

    /// Runs a request until it is answered or the session is over.
    async fn run(
        self,
        context: Arc<ClientRequest>,
        asked: PostedRequest,
        message: Bytes,
        place: RequestSlot,
    ) {
        let live = Arc::clone(&asked.live);
        tokio::select! {
            () = self.answer(&context, &asked, message) => {}
            () = live.over() => {}
        }
        drop(place);
    }

    async fn answer(&self, context: &ClientRequest, asked: &PostedRequest, message: Bytes) {
        let is_list = matches!(methods::destination(&asked.method), Destination::List(_))
            && scope::pass_through_server(&self.edge, &asked.live.scope).is_none();
        let _turn = if is_list { asked.live.list_turn().await } else { None };
        let response = match (asked.method.as_str(), asked.live.session()) {
            (methods::INITIALIZE, _) => self.start_session(context, asked, &message).await,
            ("ping", None) => Ok(json(StatusCode::OK, jsonrpc::result(&asked.id, b"{}"))),
            (_, None) => Err((Refusal::NotInitialized, None)),
            (_, Some(session)) => self.exchange(context, &asked.live, &session, message).await,
        };
        let response =
            response.unwrap_or_else(|(refusal, _)| refusal.response(Some(asked.id.as_str())));
        // Fails only if the client has left.
        let _ = asked.live.answer(&asked.id, response, self.edge.config.line).await;
    }

    /// Handles `initialize`, which begins the session of the stream.
    async fn start_session(
        &self,
        context: &ClientRequest,
        asked: &PostedRequest,
        message: &Bytes,
    ) -> Result<Response<Body>, Refused> {
        let refused = |refusal| (refusal, None);
        let envelope = Envelope::parse(message).map_err(|e| refused(Refusal::Malformed(e)))?;
        let params = params_of(&envelope).map_err(refused)?;
        let live = &asked.live;
        let is_single_server = scope::pass_through_server(&self.edge, &live.scope).is_some();
        let Some(session) = live.initialize(params, is_single_server) else {
            let text = "this session is initialized already; open another stream to start another";
            return Err(refused(Refusal::InvalidParams(text.to_owned())));
        };
        let begun = self.begin(context, &live.scope, &session, message).await;
        let granted = begun.map(|(result, _)| initialize::granted(result, &session.params));
        live.initialized(granted.as_ref().ok());
        let result = granted.map_err(refused)?.result;
        self.edge.metrics.opened();
        Ok(json(StatusCode::OK, jsonrpc::result(&asked.id, &result)))
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
