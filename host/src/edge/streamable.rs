//! Streamable HTTP for the revisions with sessions: 2025-03-26, 2025-06-18 and
//! 2025-11-25 (basic/transports, "Streamable HTTP").
//!
//! What is not the pass-through of a small message is boxed where it is awaited: a
//! future is as large as its largest branch, and this one is made for every request.

use std::mem::take;
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body as _;

use crate::model::{Principal, Scope, ServerName};
use crate::protocol::headers::{self, Accepts};
use crate::protocol::initialize::{Outcome, Params};
use crate::protocol::jsonrpc::{self, Envelope, Kind, Malformed};
use crate::protocol::version::Version;
use crate::protocol::{methods, sse};
use crate::seam::{Body, Cut, Handshake, TooLong, collect};
use crate::streams::EventId;

use super::affinity::Token;
use super::aggregate::lost_words;
use super::aggregate_reply::rewritten;
use super::bind::Context;
use super::deliver::{Delivered, Outgoing};
use super::memory::Memory;
use super::messages::is_stream;
use super::open::Tried;
use super::relay::{json, relay};
use super::rescue::Refusal;
use super::session::Session;
use super::through::Through;
use super::{Worker, classify, owned};

/// Bytes of the parameters of `initialize`. They are kept as long as the session
/// may live, and most clients send some hundred.
const MAX_PARAMS: usize = 64 * 1024;

/// A refusal, and the id of the request it answers if that is known.
pub type Refused = (Refusal, Option<String>);

impl Worker {
    pub(super) async fn streamable(
        &self,
        request: &mut Request<Body>,
        scope: Scope,
        principal: Principal,
        peer: std::net::IpAddr,
        memory: &Memory,
    ) -> Result<Response<Body>, Refused> {
        let (headers, uri) = (take(request.headers_mut()), take(request.uri_mut()));
        let context = Context { headers, uri, peer };
        let body = take(request.body_mut());
        match *request.method() {
            Method::POST => self.post(&context, &scope, principal, body, memory).await,
            Method::GET => {
                self.get(&context, &scope, &principal, memory).await.map_err(|r| (r, None))
            }
            Method::DELETE => {
                self.delete(&context, &scope, &principal, memory).await.map_err(|r| (r, None))
            }
            _ => Err((Refusal::MethodNotAllowed("POST, GET, DELETE"), None)),
        }
    }

    async fn post(
        &self,
        context: &Context,
        scope: &Scope,
        principal: Principal,
        body: Body,
        memory: &Memory,
    ) -> Result<Response<Body>, Refused> {
        check_media(context).map_err(|refusal| (refusal, None))?;
        let session = match memory.session(&self.edge, &context.headers, scope, &principal) {
            Ok(Some(session)) => session,
            Ok(None) => {
                let missing = Refusal::MissingSession;
                return Box::pin(self.first(context, scope, principal, body, missing)).await;
            }
            Err(refusal @ Refusal::UnknownSession) => {
                // A client may begin anew with its old id still attached.
                return Box::pin(self.first(context, scope, principal, body, refusal)).await;
            }
            Err(refusal) => return Err((refusal, None)),
        };
        let response = match classify::is_pass_through(&self.edge, scope) {
            Some(server) => self.pass(context, &session, server, body).await?,
            None => {
                let message = self.whole(body).await.map_err(|refusal| (refusal, None))?;
                Box::pin(self.aggregate(context, scope, &session, message)).await?
            }
        };
        Ok(self.in_use(&session, response))
    }

    /// A stream uses its session as long as it is open.
    fn in_use(&self, session: &Session, response: Response<Body>) -> Response<Body> {
        if !is_stream(&response) {
            return response;
        }
        let held = self.edge.bindings.hold(session.id);
        response.map(|body| body.with_guard(held))
    }

    /// A request without a session: `initialize`, or refused.
    async fn first(
        &self,
        context: &Context,
        scope: &Scope,
        principal: Principal,
        body: Body,
        otherwise: Refusal,
    ) -> Result<Response<Body>, Refused> {
        let message = self.whole(body).await.map_err(|refusal| (refusal, None))?;
        let envelope = Envelope::parse(&message).map_err(|e| (Refusal::Malformed(e), None))?;
        let id = envelope.id_text().map(str::to_owned);
        if envelope.kind() != Kind::Request || envelope.method() != methods::INITIALIZE {
            return Err((otherwise, id));
        }
        self.initialize(context, scope, principal, &message, &envelope)
            .await
            .map_err(|refusal| (refusal, id))
    }

    async fn initialize(
        &self,
        context: &Context,
        scope: &Scope,
        principal: Principal,
        message: &Bytes,
        envelope: &Envelope<'_>,
    ) -> Result<Response<Body>, Refusal> {
        let is_of_one = classify::is_pass_through(&self.edge, scope).is_some();
        let mut session = Session::mint(principal, params_of(envelope)?, is_of_one);
        let (result, token) = self.begin(context, scope, &session, message).await?;
        session.version = negotiated(&result).unwrap_or(Version::LATEST);
        let sealed = session.seal(&self.edge, scope).await?;
        self.edge.metrics.opened();
        let id = envelope.id_text().unwrap_or("null");
        let mut response = json(StatusCode::OK, jsonrpc::result(id, &result));
        let headers = response.headers_mut();
        // A sealed id is visible ASCII by construction.
        let sealed = HeaderValue::from_str(&sealed).map_err(|_| Refusal::NoKey)?;
        headers.insert(headers::SESSION, sealed);
        self.edge.write_token(token.as_ref(), headers);
        Ok(response)
    }

    /// Begins a session whose uuid and parameters are known: its
    /// `InitializeResult`, and what the client is to be told about the node.
    pub(super) async fn begin(
        &self,
        context: &Context,
        scope: &Scope,
        session: &Session,
        message: &Bytes,
    ) -> Result<(Bytes, Option<Token>), Refusal> {
        let admitted = self.admit_session(session)?;
        let Some(server) = classify::is_pass_through(&self.edge, scope) else {
            let requested: Params<'_> =
                serde_json::from_slice(&session.params).map_err(|_| invalid_params())?;
            let version = Version::negotiate(&requested.protocol_version);
            admitted.stays();
            return Ok((self.own_result(scope, session, version), None));
        };
        let (handshake, mut tried) = (Handshake::Client, Tried::default());
        let opened =
            self.establish(context, session, server, message, handshake, &mut tried).await?;
        admitted.stays();
        Ok((opened.result, opened.token))
    }

    /// A message for the one server behind the URL: bytes pass.
    pub(super) async fn pass(
        &self,
        context: &Context,
        session: &Session,
        server: &ServerName,
        body: Body,
    ) -> Result<Response<Body>, Refused> {
        let kept = self.keep(body).await.map_err(|refusal| (refusal, None))?;
        let delivered = match kept {
            Kept::Whole(message) => {
                let outgoing = Outgoing::post(message);
                let sent = self.deliver(context, session, server, &outgoing).await;
                let delivered = sent.map_err(|refusal| (refusal, request_id(&outgoing.body)))?;
                to_the_end(delivered, server, || request_id(&outgoing.body))
            }
            Kept::Larger(body, cut) => {
                let outgoing = Outgoing::post(Bytes::new());
                let sent = self.deliver_once(context, session, server, &outgoing, body, &cut);
                let sent = Box::pin(sent).await;
                let delivered = sent.map_err(|refusal| (refusal, cut.request_id()))?;
                to_the_end(delivered, server, || cut.request_id())
            }
        };
        let mut response = relay(delivered.response);
        self.edge.write_token(delivered.token.as_ref(), response.headers_mut());
        Ok(response)
    }

    async fn get(
        &self,
        context: &Context,
        scope: &Scope,
        principal: &Principal,
        memory: &Memory,
    ) -> Result<Response<Body>, Refusal> {
        if !Accepts::of(&context.headers).events {
            return Err(Refusal::Accept("text/event-stream"));
        }
        let session = self.session(context, scope, principal, memory)?;
        let response = match classify::is_pass_through(&self.edge, scope) {
            Some(server) => self.get_of_one(context, &session, server).await?,
            None => self.get_aggregate(context, scope, &session).await?,
        };
        Ok(self.in_use(&session, response))
    }

    async fn get_of_one(
        &self,
        context: &Context,
        session: &Session,
        server: &ServerName,
    ) -> Result<Response<Body>, Refusal> {
        let last_event_id = context.headers.get(headers::LAST_EVENT_ID).cloned();
        let outgoing = Outgoing::get(last_event_id);
        // A stream of a request ends with its answer; the session's own does not.
        if let Some(place) = resumption(&outgoing) {
            let resumed = self.resume(context, session, server, &outgoing, place).await;
            return resumed.map(relay);
        }
        let delivered = self.deliver(context, session, server, &outgoing).await?;
        Ok(Through::wrap(relay(delivered.response), self, context, session, server))
    }

    async fn get_aggregate(
        &self,
        context: &Context,
        scope: &Scope,
        session: &Session,
    ) -> Result<Response<Body>, Refusal> {
        let last_event_id = context.headers.get(headers::LAST_EVENT_ID);
        let last = last_event_id.and_then(|id| id.to_str().ok());
        // The stream of a request, which its server's host keeps. Whatever else an id
        // says is no word of ours: it opens no server, and none outside of the scope.
        let of_request = last.and_then(owned::of_event).and_then(|(server, own)| {
            let members = classify::members(self, scope);
            let last_event_id = HeaderValue::from_str(own).ok();
            members.iter().any(|member| member.server == server).then_some(())?;
            let outgoing = Outgoing::get(last_event_id);
            Some((server, resumption(&outgoing)?, outgoing))
        });
        let Some((server, place, outgoing)) = of_request else {
            return self.aggregate_stream(scope, session, last);
        };
        let response = self.resume(context, session, &server, &outgoing, place).await?;
        let mut rewriter = self.rewriter(scope, session, &server);
        rewriter.tasks = true;
        Ok(rewritten(response, rewriter, None, self.edge.config.line).await)
    }

    /// Ends the session everywhere, and for the id's remaining life.
    async fn delete(
        &self,
        context: &Context,
        scope: &Scope,
        principal: &Principal,
        memory: &Memory,
    ) -> Result<Response<Body>, Refusal> {
        let session = self.session(context, scope, principal, memory)?;
        self.edge.metrics.ended();
        self.end(&session).await;
        Ok(Response::new(Body::Empty))
    }

    /// Ends a session at every server that it has open.
    pub(super) async fn end(&self, session: &Session) {
        self.edge.records.end(session.id, session.minted_at).await;
        let outgoing = Outgoing::delete();
        if let Some(record) = self.edge.bindings.forget(session.id) {
            let topology = self.edge.topology.load_full();
            let closing = record.servers.iter().filter_map(|(server, binding)| {
                let node = topology.node(&binding.node)?;
                Some(self.tell(node, session, server, &outgoing, None))
            });
            futures_util::future::join_all(closing).await;
        }
    }

    fn session(
        &self,
        context: &Context,
        scope: &Scope,
        principal: &Principal,
        memory: &Memory,
    ) -> Result<Arc<Session>, Refusal> {
        let session = memory.session(&self.edge, &context.headers, scope, principal)?;
        session.ok_or(Refusal::MissingSession)
    }

    pub(super) async fn whole(&self, body: Body) -> Result<Bytes, Refusal> {
        collect(body, self.edge.config.request_body).await.map_err(|error| match error {
            TooLong::Limit(limit) => Refusal::TooLarge(limit),
            TooLong::Broken(_) => Refusal::BodyBroken,
        })
    }

    fn larger(&self, head: Bytes, rest: Body) -> Kept {
        let cut = Cut::default();
        let body = Body::chained(head, rest, self.edge.config.request_body, cut.clone());
        Kept::Larger(body, cut)
    }

    /// Reads as much as may be kept for a repeat.
    async fn keep(&self, mut body: Body) -> Result<Kept, Refusal> {
        let config = &self.edge.config;
        let declared = body.size_hint().lower();
        if declared > config.request_body as u64 {
            return Err(Refusal::TooLarge(config.request_body));
        }
        if declared > config.kept_body as u64 {
            return Ok(self.larger(Bytes::new(), body));
        }
        let mut read = BytesMut::new();
        while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await
        {
            let Ok(data) = frame.map_err(|_| Refusal::BodyBroken)?.into_data() else { continue };
            if read.is_empty() && body.is_end_stream() {
                return Ok(Kept::Whole(data));
            }
            read.extend_from_slice(&data);
            if read.len() > config.kept_body {
                return Ok(self.larger(read.freeze(), body));
            }
        }
        Ok(Kept::Whole(read.freeze()))
    }
}

enum Kept {
    Whole(Bytes),
    /// Sent on as it comes; the cell says if it broke off.
    Larger(Body, Cut),
}

/// The place in the stream of a request that the client comes back to.
fn resumption(outgoing: &Outgoing) -> Option<EventId> {
    let last = outgoing.last_event_id.as_ref().and_then(|id| id.to_str().ok());
    last.and_then(EventId::parse).filter(|place| place.stream != EventId::GET)
}

fn check_media(context: &Context) -> Result<(), Refusal> {
    if !headers::is_type(&context.headers, headers::JSON) {
        return Err(Refusal::ContentType);
    }
    let accepts = Accepts::of(&context.headers);
    if accepts.json && accepts.events {
        Ok(())
    } else {
        Err(Refusal::Accept("application/json and text/event-stream"))
    }
}

/// The parameters of an `initialize`, byte for byte, if they are any.
pub(super) fn params_of(initialize: &Envelope<'_>) -> Result<Bytes, Refusal> {
    let params = initialize.params.ok_or_else(invalid_params)?;
    if params.get().len() > MAX_PARAMS {
        return Err(Refusal::ParamsTooLarge(MAX_PARAMS));
    }
    let _: Params<'_> = serde_json::from_str(params.get()).map_err(|_| invalid_params())?;
    Ok(Bytes::copy_from_slice(params.get().as_bytes()))
}

fn invalid_params() -> Refusal {
    Refusal::InvalidParams("initialize needs params.protocolVersion".into())
}

/// The revision that a server has taken.
pub(super) fn negotiated(result: &[u8]) -> Option<Version> {
    let outcome: Outcome<'_> = serde_json::from_slice(result).ok()?;
    Version::parse(&outcome.protocol_version)
}

/// If the response is a stream that breaks off, it ends with an answer.
fn to_the_end(
    mut delivered: Delivered,
    server: &ServerName,
    id: impl FnOnce() -> Option<String>,
) -> Delivered {
    if is_stream(&delivered.response)
        && let Some(id) = id()
    {
        let words = sse::event(&lost_words(&id, server));
        delivered.response = delivered.response.map(|body| body.or_last_words(words));
    }
    delivered
}

/// The id of a kept message, for the answer to it.
fn request_id(message: &[u8]) -> Option<String> {
    match Envelope::parse(message) {
        Ok(envelope) if envelope.kind() == Kind::Request => envelope.id_text().map(str::to_owned),
        Ok(_) | Err(Malformed::Json(_) | Malformed::Message(_)) => None,
    }
}
