//! The runner's side of the seam: one MCP endpoint for each server.

mod opening;

use std::mem::take;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode, header};

use crate::model::{
    Epochs, GatewayStart, Principal, QuotaKey, SUBJECT_TOKEN, ServerName, USER_TOKEN,
};
use crate::net::{Body, Pool, collect_request};
use crate::protocol::headers::{self, Accepts};
use crate::protocol::jsonrpc::{self, Envelope, Malformed, code};
use crate::protocol::request_id::RequestId;
use crate::protocol::{methods, passthrough};
use crate::seam::{Facts, Handshake, Outcome, Start, StateStep};
use crate::streams::response as events;

use super::channel::answer::mark_own;
use super::channel::{message_ids, responses};
use super::session::instance::Instance;
use super::session::served::Served;
use super::session::settings_note;
use super::session::table::slot::OpenOutcome;
use super::session::table::{InHand, InstanceKey, Ready};
use super::session::withheld::{self, Withheld};
use super::shared::SharedRunner;
use super::traced::TracedMessage;
use super::unserved::{cannot_open, malformed, not_hosted, plain, unknown_session, unreadable};

/// A client that sends only these keeps its session, and its process no longer than others need it.
const PING: &str = "ping";

/// One worker's handle to the runner: the shared part, and the worker's own connections
/// to remote servers.
#[derive(Clone)]
pub struct Runner {
    pub(super) shared: Arc<SharedRunner>,
    pub(super) pool: Pool,
}

impl Runner {
    #[must_use]
    pub fn new(shared: Arc<SharedRunner>, pool: Pool) -> Self {
        Self { shared, pool }
    }

    /// Answers one request. It is borrowed, as its session and server are, and its parts are taken
    /// out of it: owning them would enlarge this future, which is made for every call. Rare branches
    /// are boxed for the same reason.
    pub(super) async fn answer(
        &self,
        key: &InstanceKey,
        facts: Facts,
        request: &mut Request<Body>,
    ) -> Response<Body> {
        let server = &key.1;
        if let Some(places) = facts.read
            && facts.is_stateless
            && request.method() == Method::POST
        {
            let sender = Sender { principal: facts.principal, quota: facts.quota };
            return self.read_request(server, sender, places, request).await;
        }
        let looked_at = self.shared.servers.load().get(server).map(|served| Asks::of(served));
        let Some(asks) = looked_at else { return not_hosted(server) };
        if facts.is_stateless && request.method() == Method::POST {
            let sender = Sender { principal: facts.principal, quota: facts.quota };
            return Box::pin(self.stateless(server, sender, asks, request)).await;
        }
        match (facts.open, request.method()) {
            (Some(handshake), &Method::POST) => {
                let Facts { principal, quota, epochs, stream, state, is_inner, .. } = facts;
                // A coordinator of an earlier version names the principal alone.
                let quota = quota.unwrap_or_else(|| QuotaKey::Credential(principal.clone()));
                let owner = (principal, quota);
                let holds = state == Some(StateStep::Hold);
                let asked = Asked { handshake, epochs, stream, holds, is_inner };
                Box::pin(self.open(key.clone(), owner, asked, take(request))).await
            }
            (None, &Method::POST) => match facts.state {
                None => self.post(key, asks, request, false).await,
                Some(StateStep::Change) => self.post(key, asks, request, true).await,
                Some(step) => Box::pin(self.restoration(key, asks, step, request)).await,
            },
            (None, &Method::GET) => Box::pin(self.listen(key, request.headers())).await,
            (None, &Method::DELETE) => {
                Box::pin(self.shared.close(key, facts.epochs.given, &self.pool)).await;
                Response::new(Body::Empty)
            }
            _ => plain(StatusCode::METHOD_NOT_ALLOWED, "use POST, GET or DELETE"),
        }
    }

    /// The session's instance, once it is open. The error is the response if there is
    /// none.
    async fn in_hand(&self, key: &InstanceKey) -> Result<InHand, Response<Body>> {
        let instance = match self.shared.table.ready(key) {
            Ready::Here(instance) => instance,
            Ready::Opening(opened) => Box::pin(self.opened(key, opened)).await?,
            Ready::HandedOn(instance) => return Err(self.handed_on(instance)),
            Ready::Gone => return Err(unknown_session()),
        };
        // Its state is being brought back: the edge's opening has the message wait.
        if instance.is_held() { Err(unknown_session()) } else { Ok(instance) }
    }

    /// Sends a message of the client, which may change what is to be saved.
    async fn post(
        &self,
        key: &InstanceKey,
        asks: Asks,
        request: &mut Request<Body>,
        changes: bool,
    ) -> Response<Body> {
        match self.in_hand(key).await {
            Ok(instance) => {
                if changes {
                    instance.unsaved.note_change();
                }
                self.post_to(key, asks, instance, request).await
            }
            Err(response) => response,
        }
    }

    /// Sends a message to an instance that is in hand.
    pub(super) async fn post_to(
        &self,
        key: &InstanceKey,
        asks: Asks,
        instance: InHand,
        request: &mut Request<Body>,
    ) -> Response<Body> {
        let accepts = Accepts::of(request.headers());
        let mut forwarded = match asks.passes_headers {
            true => self.forwarded(&key.1, request.headers()),
            false => HeaderMap::new(),
        };
        let traced = TracedMessage::of(request.headers(), self.shared.traces.as_ref());
        let mut body = take(request.body_mut());
        let mut message = match collect_request(&mut body, self.shared.config.message).await {
            Ok(message) => message,
            Err((error, read)) => return unreadable(&error, read.get()),
        };
        if let Some(traced) = &traced {
            message = traced.written_into(message);
            traced.add_to(&mut forwarded);
        }
        let forwarded = &forwarded;
        if instance.takes_batches()
            && let Some(response) =
                Box::pin(self.batch(&key.1, &instance, &message, accepts.events, forwarded)).await
        {
            return response;
        }
        let envelope = match client_message(&message) {
            Ok(envelope) => envelope,
            Err(error) => return malformed(&error, RequestId::of(&message).as_deref()),
        };
        if envelope.method() == methods::INITIALIZE {
            let text = "this session is initialized already; leave out the session header to start another";
            let mut response =
                events::json(jsonrpc::error(envelope.id_text(), code::INVALID_REQUEST, text));
            *response.status_mut() = StatusCode::BAD_REQUEST;
            mark_own(&mut response, code::INVALID_REQUEST);
            return response;
        }
        if asks.withholds
            && let Some(response) = self.withheld(&key.1, &envelope)
        {
            return response;
        }
        let posting =
            instance.post(message.clone(), &envelope, accepts.events, &self.pool, forwarded);
        let mut response = posting.await;
        if envelope.method() == PING {
            self.shared.table.was_ping(key, &instance);
        }
        if Outcome::read(response.headers()) == Some(Outcome::UnknownSession) {
            self.shared.table.remove_if(key, &instance);
        } else if let Some(note) = settings_note::of(&envelope, response.body()) {
            instance.remember(&note);
            note.write(response.headers_mut());
        }
        match traced {
            Some(traced) => traced.answered(&key.1, &message, response),
            None => response,
        }
    }

    /// Sends a batch (2025-03-26, basic, "Batching"). `None` if the body is no batch.
    async fn batch(
        &self,
        server: &ServerName,
        instance: &Instance,
        body: &bytes::Bytes,
        takes_events: bool,
        forwarded: &HeaderMap,
    ) -> Option<Response<Body>> {
        let parts = match jsonrpc::batch(body) {
            Ok(parts) => parts?,
            Err(error) => return Some(malformed(&error, None)),
        };
        let parsed = parts.iter().map(|part| client_message(part.get().as_bytes()));
        let envelopes: Vec<Envelope<'_>> = match parsed.collect() {
            Ok(envelopes) => envelopes,
            Err(error) => return Some(malformed(&error, None)),
        };
        if envelopes.iter().any(|envelope| envelope.method() == methods::INITIALIZE) {
            let text = "initialize is never part of a batch";
            return Some(malformed(&Malformed::Message(text), None));
        }
        if envelopes.iter().any(|part| self.withheld(server, part).is_some()) {
            let text = "a message of the batch is kept from this server by its settings";
            return Some(malformed(&Malformed::Message(text), None));
        }
        let messages: Vec<(bytes::Bytes, &Envelope<'_>)> = parts
            .iter()
            .zip(&envelopes)
            .map(|(part, envelope)| (body.slice_ref(part.get().as_bytes()), envelope))
            .collect();
        let body = body.clone();
        Some(instance.post_all(body, &messages, takes_events, &self.pool, forwarded).await)
    }

    /// The answer to a message that the server's own settings keep from it.
    pub(super) fn withheld(
        &self,
        server: &ServerName,
        envelope: &Envelope<'_>,
    ) -> Option<Response<Body>> {
        let selection = self.shared.servers.load().get(server)?.selection.clone()?;
        Some(match withheld::from(envelope, &selection)? {
            Withheld::Dropped => responses::accepted(),
            Withheld::Refused(code, text) => {
                let error = jsonrpc::error(envelope.id_text(), code, &text);
                let mut response = events::json(error);
                mark_own(&mut response, code);
                response
            }
        })
    }

    async fn listen(&self, key: &InstanceKey, request: &HeaderMap) -> Response<Body> {
        let instance = match self.in_hand(key).await {
            Ok(instance) => instance,
            Err(response) => return response,
        };
        let renews = instance.is_renewal();
        let last = request.get(headers::LAST_EVENT_ID);
        // Between the last words of a server and its end there is nothing to come back to. A stream
        // that came back here would tell the client of a loss before its state is restored.
        if last.is_some_and(|last| last == headers::LOST_STREAM) && instance.has_ended() {
            return unknown_session();
        }
        // Before a renewal nothing was missed: what follows goes on with the stream of before.
        let last = last.filter(|last| !renews || instance.resumes_after(last));
        let forwarded = self.forwarded(&key.1, request);
        let mut response = instance.listen(last, &self.pool, &forwarded).await;
        if renews {
            Start::Renewed.write(response.headers_mut());
        }
        response
    }

    /// The instance that another request is opening. The error is the response if that
    /// fails.
    async fn opened(
        &self,
        key: &InstanceKey,
        mut opened: tokio::sync::watch::Receiver<OpenOutcome>,
    ) -> Result<InHand, Response<Body>> {
        if let Ok(outcome) = opened.wait_for(Option::is_some).await
            && let Some(Err(error)) = &*outcome
        {
            return Err(cannot_open(error));
        }
        match self.shared.table.ready(key) {
            Ready::Here(instance) => Ok(instance),
            Ready::HandedOn(instance) => Err(self.handed_on(instance)),
            Ready::Opening(_) | Ready::Gone => Err(unknown_session()),
        }
    }

    /// The answer to a message whose session goes on with another instance.
    fn handed_on(&self, instance: Arc<Instance>) -> Response<Body> {
        let pool = self.pool.clone();
        tokio::spawn(async move { instance.close(&pool).await });
        unknown_session()
    }

    /// The client's headers that the operator has passed on to this server.
    pub(super) fn forwarded(&self, server: &ServerName, seam: &HeaderMap) -> HeaderMap {
        match self.shared.servers.load().get(server) {
            Some(served) if served.passes_headers() => {
                let mut passed = passthrough::passed_through(&served.passthrough, seam);
                if served.exchanges {
                    let subject = HeaderName::from_static(SUBJECT_TOKEN);
                    passed.extend(passthrough::passed_through(&[subject], seam));
                }
                if served.logs_in {
                    let user = HeaderName::from_static(USER_TOKEN);
                    if let Some(token) = passthrough::passed_through(&[user], seam).values().next()
                    {
                        passed.insert(header::AUTHORIZATION, token.clone());
                    }
                }
                for (asked, sent) in &served.claims {
                    let claim = passthrough::passed_through(std::slice::from_ref(asked), seam);
                    if let Some(value) = claim.get(asked) {
                        passed.insert(sent.clone(), value.clone());
                    }
                }
                passed
            }
            _ => HeaderMap::new(),
        }
    }
}

/// What a server's settings ask of each message, looked up once for it.
#[derive(Clone, Copy)]
pub(super) struct Asks {
    passes_headers: bool,
    withholds: bool,
}

impl Asks {
    /// Whether anything of its client's requests is passed on.
    pub(super) fn passes_headers(self) -> bool {
        self.passes_headers
    }

    /// Whether messages are kept from the server.
    pub(super) fn withholds(self) -> bool {
        self.withholds
    }

    pub(super) fn of(served: &Served) -> Self {
        Self { passes_headers: served.passes_headers(), withholds: served.selection.is_some() }
    }
}

/// Who has sent a request without a session.
pub(super) struct Sender {
    pub principal: Principal,
    /// Whom a process counts for that is started for it.
    pub quota: Option<QuotaKey>,
}

/// What the edge says of an open.
struct Asked {
    handshake: Handshake,
    epochs: Epochs,
    stream: Option<GatewayStart>,
    /// Whether its state is to be brought back before it serves the client.
    holds: bool,
    /// Whether the edge has the session in place of a client without one.
    is_inner: bool,
}

/// Reads a client's message, of which no more is kept than the gateway has room for.
fn client_message(bytes: &[u8]) -> Result<Envelope<'_>, Malformed> {
    let envelope = Envelope::parse(bytes)?;
    message_ids::check_token(&envelope)?;
    Ok(envelope)
}
