//! The runner's side of the seam: one MCP endpoint for each server.

use std::mem::take;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, Request, Response, StatusCode, header};

use crate::model::{Epoch, Epochs, GatewayStart, Principal, QuotaKey, ServerName};
use crate::net::{Body, Pool, TooLong, collect, collect_request};
use crate::protocol::headers::{self, Accepts};
use crate::protocol::jsonrpc::{self, Envelope, Malformed, code};
use crate::protocol::request_id::RequestId;
use crate::protocol::{methods, passthrough};
use crate::seam::{Facts, Handshake, Outcome, Start, StateStep, write_epoch};
use crate::streams::response as events;

use super::admission::open_error::OpenError;
use super::catalog::probe;
use super::channel::{message_ids, responses};
use super::session::instance::Instance;
use super::session::open::{self, Opening, SessionOwner};
use super::session::served::Served;
use super::session::settings_note;
use super::session::table::{InHand, InstanceKey, OpenOutcome, Ready, SlotClaim};
use super::session::withheld::{self, Withheld};
use super::shared::SharedRunner;
use super::upkeep::watch;

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

    /// Answers one request. The request is borrowed, and its parts are taken out of it:
    /// owning it would enlarge this future, which is made for every call. Rare branches
    /// are boxed for the same reason.
    pub(super) async fn answer(
        &self,
        server: ServerName,
        facts: Facts,
        request: &mut Request<Body>,
    ) -> Response<Body> {
        let looked_at = self.shared.servers.load().get(&server).map(|served| Asks::of(served));
        let Some(asks) = looked_at else {
            let mut response = plain(
                StatusCode::NOT_FOUND,
                &format!("server {server} is not hosted on this node"),
            );
            Outcome::NotSent.write(response.headers_mut());
            return response;
        };
        let key = (facts.session, server);
        match (facts.open, request.method()) {
            (Some(handshake), &Method::POST) => {
                let Facts { principal, quota, epochs, stream, state, .. } = facts;
                // A coordinator of before 0.2.0 names the principal alone.
                let quota = quota.unwrap_or_else(|| QuotaKey::Credential(principal.clone()));
                let owner = (principal, quota);
                let holds = state == Some(StateStep::Hold);
                let asked = Asked { handshake, epochs, stream, holds };
                Box::pin(self.open(key, owner, asked, take(request))).await
            }
            (None, &Method::POST) => match facts.state {
                None => self.post(key, asks, request, false).await,
                Some(StateStep::Change) => self.post(key, asks, request, true).await,
                Some(step) => Box::pin(self.restoration(key, asks, step, request)).await,
            },
            (None, &Method::GET) => Box::pin(self.listen(key, request.headers())).await,
            (None, &Method::DELETE) => {
                Box::pin(self.shared.close(&key, facts.epochs.given, &self.pool)).await;
                Response::new(Body::Empty)
            }
            _ => plain(StatusCode::METHOD_NOT_ALLOWED, "use POST, GET or DELETE"),
        }
    }

    /// Opens the session at the server; concurrent requests wait for the same opening.
    /// The body of the answer is the `InitializeResult`.
    async fn open(
        &self,
        key: InstanceKey,
        (principal, quota): (Principal, QuotaKey),
        asked: Asked,
        request: Request<Body>,
    ) -> Response<Body> {
        let Asked { handshake, epochs, stream, holds } = asked;
        let forwarded = self.forwarded(&key.1, request.headers());
        let params = match collect(request.into_body(), self.shared.config.message).await {
            Ok(params) => params,
            Err(error) => return unreadable(&error, None),
        };
        if handshake == Handshake::Runner {
            probe::probe(&self.shared.table, &key, &self.pool).await;
        }
        if holds {
            self.end_left_restoration(&key).await;
        }
        let (start, epoch, mut opened) = match self.shared.table.enter(&key, epochs, stream) {
            SlotClaim::Newer(epoch) => return newer(epoch),
            SlotClaim::Wait(opened, epoch) => (Start::Existing, epoch, opened),
            SlotClaim::Opening(sender, left) => {
                let opened = sender.subscribe();
                let renews = self.shared.table.renewals.take(&key) && left.is_none();
                if let Some(left) = left {
                    self.close_left(&key, left);
                }
                // On its own task, so that the opening goes on if this client leaves.
                let asked =
                    OpenRequest { principal, quota, handshake, params, forwarded, renews, holds };
                tokio::spawn(self.clone().run_opening(key.clone(), asked, sender));
                (if renews { Start::Renewed } else { Start::Fresh }, epochs.given, opened)
            }
        };
        let outcome = match opened.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone(),
            Err(_) => None,
        };
        match outcome {
            Some(Ok(instance)) => {
                // An opening that another request has left: its state is still to be brought back.
                let is_left = holds && start == Start::Existing && instance.is_held();
                let start = if is_left { Start::Fresh } else { start };
                let mut response = events::json(instance.result.clone());
                start.write(response.headers_mut());
                write_epoch(response.headers_mut(), epoch);
                response
            }
            Some(Err(error)) => cannot_open(&error),
            None => plain(StatusCode::BAD_GATEWAY, "opening the session was given up"),
        }
    }

    /// Closes an instance that the session has left, on a task of its own: its server may be slow,
    /// and the session goes on without it.
    fn close_left(&self, key: &InstanceKey, left: Arc<Instance>) {
        let (session, server) = (key.0.short(), &key.1);
        tracing::info!(session, server = %server, "closed an instance that its session has left");
        let pool = self.pool.clone();
        tokio::spawn(async move { left.close(&pool).await });
    }

    async fn run_opening(
        self,
        key: InstanceKey,
        asked: OpenRequest,
        told: tokio::sync::watch::Sender<Option<Result<Arc<Instance>, OpenError>>>,
    ) {
        let served = self.shared.servers.load().get(&key.1).map(Arc::clone);
        let Some(served) = served else { return };
        let opening = Opening {
            params: &asked.params,
            handshake: asked.handshake,
            forwarded: &asked.forwarded,
            owner: Some(SessionOwner {
                session: key.0,
                principal: &asked.principal,
                quota: &asked.quota,
            }),
        };
        let open = open::open(&key.1, &served, opening, &self.pool, &self.shared.resources);
        let outcome = open.await.map(Arc::new);
        match &outcome {
            Ok(instance) => {
                if asked.renews {
                    instance.mark_renewal();
                }
                if asked.holds {
                    instance.hold(true);
                }
                tracing::debug!(session = %key.0.short(), server = %key.1, pid = instance.pid(), "session opened");
                tokio::spawn(watch::watch_instance(
                    Arc::downgrade(&self.shared),
                    self.pool.clone(),
                    key.clone(),
                    instance,
                ));
            }
            Err(error) => {
                // The log has told it already.
                let is_told =
                    error.is_failed_start() && self.shared.resources.starts.has_failed(&key.1);
                self.shared.complaints.say(&key, error, is_told);
            }
        }
        let opened = outcome.as_ref().ok().map(Arc::clone);
        told.send_replace(Some(outcome));
        // The session may have ended or moved while its server started.
        if let Some(instance) = opened.filter(|instance| !self.shared.table.holds(&key, instance)) {
            instance.close(&self.pool).await;
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
        key: InstanceKey,
        asks: Asks,
        request: &mut Request<Body>,
        changes: bool,
    ) -> Response<Body> {
        match self.in_hand(&key).await {
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
        key: InstanceKey,
        asks: Asks,
        instance: InHand,
        request: &mut Request<Body>,
    ) -> Response<Body> {
        let accepts = Accepts::of(request.headers());
        let forwarded = match asks.passes_headers {
            true => self.forwarded(&key.1, request.headers()),
            false => HeaderMap::new(),
        };
        let mut body = take(request.body_mut());
        let message = match collect_request(&mut body, self.shared.config.message).await {
            Ok(message) => message,
            Err((error, read)) => return unreadable(&error, read.get()),
        };
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
            self.shared.table.was_ping(&key, &instance);
        }
        if Outcome::read(response.headers()) == Some(Outcome::UnknownSession) {
            self.shared.table.remove_if(&key, &instance);
        } else if let Some(note) = settings_note::of(&envelope, response.body()) {
            instance.remember(&note);
            note.write(response.headers_mut());
        }
        response
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
    fn withheld(&self, server: &ServerName, envelope: &Envelope<'_>) -> Option<Response<Body>> {
        let selection = self.shared.servers.load().get(server)?.selection.clone()?;
        Some(match withheld::from(envelope, &selection)? {
            Withheld::Dropped => responses::accepted(),
            Withheld::Refused(code, text) => {
                events::json(jsonrpc::error(envelope.id_text(), code, &text))
            }
        })
    }

    async fn listen(&self, key: InstanceKey, request: &HeaderMap) -> Response<Body> {
        let instance = match self.in_hand(&key).await {
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
    fn forwarded(&self, server: &ServerName, seam: &HeaderMap) -> HeaderMap {
        match self.shared.servers.load().get(server) {
            Some(served) if !served.passthrough.is_empty() => {
                passthrough::passed_through(&served.passthrough, seam)
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
    fn of(served: &Served) -> Self {
        Self {
            passes_headers: !served.passthrough.is_empty(),
            withholds: served.selection.is_some(),
        }
    }
}

/// What the edge says of an open.
struct Asked {
    handshake: Handshake,
    epochs: Epochs,
    stream: Option<GatewayStart>,
    /// Whether its state is to be brought back before it serves the client.
    holds: bool,
}

/// What an opening needs from its request.
struct OpenRequest {
    principal: Principal,
    quota: QuotaKey,
    handshake: Handshake,
    params: bytes::Bytes,
    forwarded: HeaderMap,
    renews: bool,
    /// Whether its state is to be brought back before it serves the client.
    holds: bool,
}

/// Reads a client's message, of which no more is kept than the gateway has room for.
fn client_message(bytes: &[u8]) -> Result<Envelope<'_>, Malformed> {
    let envelope = Envelope::parse(bytes)?;
    message_ids::check_token(&envelope)?;
    Ok(envelope)
}

fn malformed(error: &Malformed, id: Option<&str>) -> Response<Body> {
    let mut response = events::json(jsonrpc::error(id, error.code(), &error.to_string()));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
}

pub(super) fn unknown_session() -> Response<Body> {
    let mut response = plain(StatusCode::NOT_FOUND, "no such session on this node");
    Outcome::UnknownSession.write(response.headers_mut());
    response
}

/// The answer to an open by an edge whose binding is older than the instance.
fn newer(epoch: Epoch) -> Response<Body> {
    let mut response = plain(StatusCode::CONFLICT, "the session is open here by a later binding");
    Outcome::NotSent.write(response.headers_mut());
    write_epoch(response.headers_mut(), Some(epoch));
    response
}

fn cannot_open(error: &OpenError) -> Response<Body> {
    let mut response = events::json(jsonrpc::error(None, code::UNAVAILABLE, &error.to_string()));
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    Outcome::NotSent.write(response.headers_mut());
    if let Some(after) = error.retry_after() {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response.headers_mut().insert(header::RETRY_AFTER, headers::whole_seconds(after));
    }
    response
}

pub(super) fn unreadable(error: &TooLong, id: Option<&str>) -> Response<Body> {
    let status = match error {
        TooLong::Limit(_) => StatusCode::PAYLOAD_TOO_LARGE,
        TooLong::Stalled(_) => StatusCode::REQUEST_TIMEOUT,
        TooLong::Broken(_) => StatusCode::BAD_REQUEST,
        TooLong::NoRoom(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    let mut response = events::json(jsonrpc::error(id, code::TRANSPORT, &error.to_string()));
    *response.status_mut() = status;
    if matches!(error, TooLong::NoRoom(_)) {
        let soon = headers::whole_seconds(Duration::from_secs(2));
        response.headers_mut().insert(header::RETRY_AFTER, soon);
    }
    response
}

pub(super) fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = events::json(jsonrpc::error(None, code::TRANSPORT, text));
    *response.status_mut() = status;
    response
}
