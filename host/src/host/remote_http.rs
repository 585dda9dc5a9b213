//! An MCP server behind a URL: Streamable HTTP, one upstream session for each
//! of ours.
//!
//! A JSON answer passes as it comes. An event stream is read message by message
//! into a stream of ours (`pump`), which outlives both the client's connection
//! and the upstream's. What never passes are the client's credentials: the
//! upstream gets the configured headers, and of the client's those that the
//! operator lets through.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::Body as _;
use tokio::sync::watch;

use crate::model::ServerName;
use crate::protocol::headers;
use crate::protocol::jsonrpc::{self, Envelope, Kind, code};
use crate::protocol::methods;
use crate::seam::{Body, Failure, Outcome, Pool, collect};

use super::caller::InItsPlace;
use super::mailbox::{Mailbox, Refused};
use super::pipe::{LostSignal, Rules};
use super::pump;
use super::replies;
use super::timeout;
use super::upstream::Caller;
use crate::streams::{Way, response as events};

/// What an upstream may say when it refuses something.
const ERROR_BODY: usize = 64 * 1024;
/// An upstream that is slow to open its own stream does not hold up the client's.
const HEARD_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(2);
/// Nobody waits longer for an upstream's good-bye.
const CLOSE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// What the session's tasks share.
pub struct Session {
    pub server: ServerName,
    pub rules: Rules,
    pub caller: Caller,
    /// Whether the upstream has given the session an id; some have none.
    has_session: bool,
    primes: bool,
    mailbox: Mutex<Mailbox>,
    lost: watch::Sender<Option<Arc<str>>>,
    pub list_changes: watch::Sender<u32>,
    pub closing: watch::Sender<bool>,
    is_heard: std::sync::atomic::AtomicBool,
    /// Becomes true when the upstream's own stream is read, or found missing.
    pub heard: watch::Sender<bool>,
}

impl Session {
    pub fn mailbox(&self) -> MutexGuard<'_, Mailbox> {
        self.mailbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The upstream has no such session any more: what it was to answer is answered
    /// here, and who listens learns that there is nothing more to hear.
    pub fn is_forgotten(&self) {
        let text = format!("server {} has forgotten the session", self.server);
        self.mailbox().end(&text);
        self.lost.send_replace(Some(text.into()));
        self.closing.send_replace(true);
    }

    /// Whether a response says so.
    pub fn is_forgotten_by(&self, status: StatusCode, text: &[u8]) -> bool {
        self.has_session && is_lost(status, text)
    }
}

/// An upstream whose `initialize` has been answered.
pub struct RemoteHttp {
    session: Arc<Session>,
}

impl RemoteHttp {
    /// Takes what the upstream's answer to `initialize` says about the session.
    #[must_use]
    pub fn opened(
        server: ServerName,
        mut caller: Caller,
        rules: Rules,
        session: Option<HeaderValue>,
        version: &str,
        primes: bool,
    ) -> Self {
        let has_session = session.is_some();
        if let Some(session) = session {
            caller.set(headers::SESSION, session);
        }
        if let Ok(version) = HeaderValue::from_str(version) {
            caller.set(headers::PROTOCOL_VERSION, version);
        }
        let session = Session {
            server,
            rules,
            caller,
            has_session,
            primes,
            mailbox: Mutex::new(Mailbox::new(rules.kept)),
            lost: watch::Sender::new(None),
            list_changes: watch::Sender::new(0),
            closing: watch::Sender::new(false),
            is_heard: false.into(),
            heard: watch::Sender::new(false),
        };
        Self { session: Arc::new(session) }
    }

    #[must_use]
    pub fn lost(&self) -> Option<Arc<str>> {
        self.session.lost.borrow().clone()
    }

    #[must_use]
    pub fn lost_signal(&self) -> LostSignal {
        self.session.lost.subscribe()
    }

    /// Counts the server's list_changed notifications.
    #[must_use]
    pub fn list_changes(&self) -> watch::Receiver<u32> {
        self.session.list_changes.subscribe()
    }

    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.is_working() || self.session.mailbox().is_heard()
    }

    #[must_use]
    pub fn is_working(&self) -> bool {
        self.session.mailbox().is_working()
    }

    /// Sends messages that came together, as they came; `body` is all of them.
    pub async fn post(
        &self,
        pool: &Pool,
        body: Bytes,
        messages: &[&Envelope<'_>],
        forwarded: &HeaderMap,
        takes_events: bool,
    ) -> Response<Body> {
        let requests: Vec<&Envelope<'_>> =
            messages.iter().copied().filter(|e| e.kind() == Kind::Request).collect();
        let about = requests.first().or(messages.first());
        let Some(about) = about else { return replies::accepted() };
        for message in messages.iter().filter(|message| message.method() == methods::CANCELLED) {
            self.session.mailbox().cancel(message);
        }
        let sending = self.session.caller.post(pool, None, body, forwarded);
        let limit = timeout::first(self.session.rules.timeouts).filter(|_| !requests.is_empty());
        let sent = match limit {
            None => sending.await,
            Some((limit, expired)) => match tokio::time::timeout(limit, sending).await {
                Ok(sent) => sent,
                Err(_) => return self.expired(pool, about, &expired),
            },
        };
        let response = match sent {
            Ok(response) => response,
            Err(failure) => return self.unreachable(about, &failure),
        };
        let status = response.status();
        if status.is_success() {
            if !requests.is_empty() && status != StatusCode::OK {
                return self.refused(about, status, b"");
            }
            if headers::is_type(response.headers(), headers::EVENT_STREAM) && !requests.is_empty() {
                return self.stream(pool, response, &requests, takes_events).await;
            }
            if !requests.is_empty() && response.body().is_end_stream() {
                return self.refused(about, status, b"");
            }
            return relayed(response);
        }
        let text = error_text(response).await;
        if self.session.is_forgotten_by(status, &text) && !is_answer(&text, about) {
            self.session.is_forgotten();
            let mut gone = events::json(jsonrpc::error(
                about.id_text(),
                code::SESSION,
                &format!("server {} has forgotten the session", self.session.server),
            ));
            *gone.status_mut() = StatusCode::NOT_FOUND;
            Outcome::UnknownSession.write(gone.headers_mut());
            return gone;
        }
        self.refused(about, status, &text)
    }

    /// Reads the upstream's stream into one of ours, which the client can resume.
    async fn stream(
        &self,
        pool: &Pool,
        response: Response<Body>,
        requests: &[&Envelope<'_>],
        takes_events: bool,
    ) -> Response<Body> {
        let session = &self.session;
        let Some(about) = requests.first() else { return replies::accepted() };
        let expected = session.mailbox().expect(requests, session.rules.in_flight);
        let stream = match expected {
            Ok(stream) => stream,
            Err(Refused::Gone) => return self.refused(about, StatusCode::NOT_FOUND, b""),
            Err(refused) => return replies::refuse(about, refused),
        };
        let reader = stream.read_on();
        let ids = requests.iter().filter_map(|request| request.id_text().map(str::to_owned));
        let request = about.id_text().filter(|_| requests.len() == 1);
        let publish = || {
            let mut mailbox = session.mailbox();
            mailbox.publish(&stream);
            mailbox.tag(&stream, request)
        };
        tokio::spawn(pump::answer(
            Arc::clone(session),
            pool.clone(),
            response.into_body(),
            Arc::clone(&stream),
            ids.collect(),
        ));
        match events::respond(reader, takes_events, self.way(), publish).await {
            Some(response) => response,
            None => self.refused(about, StatusCode::BAD_GATEWAY, b""),
        }
    }

    /// The GET stream. The upstream's own is read into it from now on, where
    /// there is one.
    pub async fn listen(
        &self,
        pool: &Pool,
        last_event_id: Option<&HeaderValue>,
        forwarded: &HeaderMap,
    ) -> Response<Body> {
        if !self.session.is_heard.swap(true, std::sync::atomic::Ordering::AcqRel) {
            tokio::spawn(pump::listen(
                Arc::downgrade(&self.session),
                pool.clone(),
                forwarded.clone(),
            ));
        }
        // A client that has its stream may count on the server having one.
        let mut heard = self.session.heard.subscribe();
        let _ = tokio::time::timeout(HEARD_TIMEOUT, heard.wait_for(|heard| *heard)).await;
        replies::listen(&mut self.session.mailbox(), last_event_id, self.way())
    }

    /// Ends the upstream's session; its answer does not matter.
    pub async fn close(&self, pool: &Pool) {
        self.session.closing.send_replace(true);
        self.session.mailbox().end("the session has ended");
        if !self.session.has_session {
            return;
        }
        let server = &self.session.server;
        match tokio::time::timeout(CLOSE_TIMEOUT, self.session.caller.delete(pool)).await {
            Ok(Ok(_)) => {}
            Ok(Err(failure)) => tracing::debug!(server = %server, "DELETE upstream: {failure}"),
            Err(_) => tracing::debug!(server = %server, "DELETE upstream: no answer"),
        }
    }

    fn way(&self) -> Way {
        Way { keep_alive: self.session.rules.keep_alive, primes: self.session.primes }
    }

    /// Not even the answer's head came in time.
    fn expired(
        &self,
        pool: &Pool,
        request: &Envelope<'_>,
        expired: &timeout::Expired,
    ) -> Response<Body> {
        let text = format!("server {}: {expired}", self.session.server);
        tracing::info!("{text}");
        if let Some(id) = request.id_text() {
            pump::tell(&self.session, pool, timeout::cancelled(id, &text));
        }
        events::json(jsonrpc::error(request.id_text(), code::TIMED_OUT, &text))
    }

    fn unreachable(&self, envelope: &Envelope<'_>, failure: &Failure) -> Response<Body> {
        let server = &self.session.server;
        let (outcome, text) = match failure {
            Failure::NotSent(why) => {
                (Outcome::NotSent, format!("server {server} cannot be reached: {why}"))
            }
            Failure::Broken(why) => (
                Outcome::Sent,
                format!(
                    "the connection to server {server} broke while the call was under way; it may \
                     have run: {why}"
                ),
            ),
        };
        let mut response =
            events::json(jsonrpc::error(envelope.id_text(), code::SERVER_LOST, &text));
        *response.status_mut() = events::status_for(envelope, StatusCode::BAD_GATEWAY);
        outcome.write(response.headers_mut());
        response
    }

    /// An upstream's own error: as it stands if it is a JSON-RPC answer to this
    /// request, else in our words. A 401 or 403 is between gateway and upstream.
    fn refused(&self, envelope: &Envelope<'_>, status: StatusCode, text: &[u8]) -> Response<Body> {
        if is_answer(text, envelope)
            && !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
        {
            return events::json(Bytes::copy_from_slice(text));
        }
        let server = &self.session.server;
        let why = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                format!(
                    "server {server} refuses the gateway's credentials ({status}); check its \
                     \"headers\""
                )
            }
            _ if status.is_success() => {
                format!("server {server} answers {status} and nothing to the request")
            }
            _ => format!("server {server} answers {status}"),
        };
        let mut response = events::json(jsonrpc::error(envelope.id_text(), code::INTERNAL, &why));
        response.extensions_mut().insert(InItsPlace);
        *response.status_mut() = events::status_for(envelope, StatusCode::BAD_GATEWAY);
        response
    }
}

/// The response with nothing but what a client of ours should see.
fn relayed(response: Response<Body>) -> Response<Body> {
    let (parts, body) = response.into_parts();
    let mut relayed = Response::new(body);
    *relayed.status_mut() = parts.status;
    for name in [header::CONTENT_TYPE, header::CACHE_CONTROL] {
        if let Some(value) = parts.headers.get(&name) {
            relayed.headers_mut().insert(name, value.clone());
        }
    }
    relayed
}

/// Whether the body answers this very request: then the server has seen it, and
/// only says "session not found" for a session that is lost.
fn is_answer(text: &[u8], request: &Envelope<'_>) -> bool {
    #[derive(serde::Deserialize)]
    struct Error {
        code: i64,
    }
    Envelope::parse(text).is_ok_and(|answer| {
        let error = answer.error.and_then(|error| serde_json::from_str::<Error>(error.get()).ok());
        answer.kind() == Kind::Response
            && request.id.is_some()
            && answer.id_text() == request.id_text()
            && error.is_none_or(|error| error.code != code::SESSION)
    })
}

/// The specification says 404; several servers say 400 with a word about it.
fn is_lost(status: StatusCode, text: &[u8]) -> bool {
    match status {
        StatusCode::NOT_FOUND => true,
        StatusCode::BAD_REQUEST => {
            let text = String::from_utf8_lossy(text).to_ascii_lowercase();
            text.contains("session") || text.contains("not initialized")
        }
        _ => false,
    }
}

pub async fn error_text(response: Response<Body>) -> Bytes {
    collect(response.into_body(), ERROR_BODY).await.unwrap_or_default()
}
