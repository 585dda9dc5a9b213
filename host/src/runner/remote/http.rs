//! An MCP server behind a URL, over Streamable HTTP: one upstream session for each session of the
//! gateway.
//!
//! A JSON answer is passed on as it arrives, once it is known for one; what else may come is judged
//! (`judged`). An event stream is read message by message into a
//! stream of the gateway (`reader`), which outlives the client's connection and the upstream's.
//! The client's credentials are never relayed: the upstream gets the configured headers, and those
//! client headers that the operator lets through.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::model::ServerName;
use crate::net::{Body, Failure, Pool};
use crate::protocol::answer::is_answer_to;
use crate::protocol::jsonrpc::{self, Envelope, Kind, code};
use crate::protocol::{headers, methods};
use crate::runner::channel::answer::NO_LONGER_WANTED;
use crate::runner::channel::in_flight::Asker;
use crate::runner::channel::list_changes::ListChanges;
use crate::runner::channel::mailbox::{Mailbox, MailboxRefusal};
use crate::runner::channel::pipe::LostSignal;
use crate::runner::channel::responses;
use crate::runner::channel::terms::SessionTerms;
use crate::streams::response::OPEN_AFTER;
use crate::streams::{EventId, Part, Reached, Reader, Way, response as events};
use crate::sync::{Locked, Signal};

use super::answers::AnswerSource;
use super::call::{HttpCall, Posted};
use super::reader;
use super::sending::FirstSecond;
use super::session::UpstreamSession;
use super::taking;
use super::upstream::UpstreamClient;

/// Longest wait for the upstream's GET stream before the client gets its own.
const HEARD_TIMEOUT: Duration = Duration::from_secs(2);
/// The same, before the first request of a client that has no GET stream. Some servers begin theirs with
/// its first event.
const FIRST_HEARD_TIMEOUT: Duration = Duration::from_millis(500);
/// Longest wait for the upstream to accept cancellations before DELETE is sent.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(2);

/// An upstream whose `initialize` has been answered.
pub struct RemoteHttp {
    pub(super) session: Arc<UpstreamSession>,
    /// For the good-bye, if nobody says it.
    pool: Pool,
    /// Whether the upstream has been told that the session is over.
    is_left: AtomicBool,
}

impl RemoteHttp {
    /// A session with the id and protocol version of the upstream's answer to `initialize`.
    #[must_use]
    pub fn opened(
        server: ServerName,
        mut client: UpstreamClient,
        pool: &Pool,
        terms: SessionTerms,
        session: Option<HeaderValue>,
        version: &str,
        primes: bool,
    ) -> Self {
        let has_session = session.is_some();
        let list_changes = ListChanges::new(Arc::clone(&terms.readings));
        if let Some(session) = session {
            client.set(headers::SESSION, session);
        }
        if let Ok(version) = HeaderValue::from_str(version) {
            client.set(headers::PROTOCOL_VERSION, version);
        }
        let session = UpstreamSession {
            server,
            rules: terms.limits,
            left: terms.left.clone(),
            errors: Arc::clone(&terms.errors),
            asks_in_calls: terms.asks_in_calls,
            client,
            has_session,
            primes,
            mailbox: Locked::new(Mailbox::of(terms)),
            lost: watch::Sender::new(None),
            list_changes,
            closing: Signal::default(),
            is_quiet: false.into(),
            is_heard: false.into(),
            heard: Signal::default(),
        };
        session.mailbox().opened();
        Self { session: Arc::new(session), pool: pool.clone(), is_left: false.into() }
    }

    /// Whether a request with this id is under way.
    #[must_use]
    pub fn has_in_flight(&self, id: &str) -> bool {
        self.session.mailbox().has_in_flight(id)
    }

    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.session.lost.borrow().is_some()
    }

    #[must_use]
    pub fn resumes_after(&self, event: &HeaderValue) -> bool {
        event.to_str().ok().and_then(EventId::parse).is_some_and(|event| {
            event.request.is_some() || event.instance == self.session.mailbox().instance()
        })
    }

    /// Whether the upstream has ended the session while nothing of it was under way.
    #[must_use]
    pub fn was_left_idle(&self) -> bool {
        self.session.is_quiet.load(Ordering::Acquire)
    }

    #[must_use]
    pub fn lost_signal(&self) -> LostSignal {
        self.session.lost.subscribe()
    }

    /// State is being brought back, from now on or no more.
    pub fn restore(&self, is_restoring: bool) {
        self.session.mailbox().restore(is_restoring);
    }

    /// Whether the server has asked something meanwhile, since this was last asked.
    pub fn take_asked(&self) -> bool {
        self.session.mailbox().take_asked()
    }

    /// The server's list_changed notifications.
    #[must_use]
    pub fn list_changes(&self) -> &ListChanges {
        &self.session.list_changes
    }

    /// Puts a notification of the gateway onto the client's GET stream.
    pub fn announce(&self, notice: Bytes) {
        self.session.mailbox().unrelated().put(notice, Part::Notice);
    }

    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.is_working() || self.session.mailbox().is_heard()
    }

    #[must_use]
    pub fn is_working(&self) -> bool {
        self.session.mailbox().is_working()
    }

    /// Whether the server waits for an answer of the client.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.session.mailbox().questions.are_open()
    }

    /// Whether the upstream keeps a session, which ends with this one.
    #[must_use]
    pub fn has_session(&self) -> bool {
        self.session.has_session
    }

    /// Whether to send this message: responses only to requests that the upstream has open.
    #[must_use]
    pub fn takes(&self, message: &Envelope<'_>) -> bool {
        message.kind() != Kind::Response || self.session.mailbox().questions.close_with(message)
    }

    /// Forgets streams that nobody came back to.
    pub fn sweep(&self) {
        self.session.mailbox().sweep();
    }

    /// Cancels a request of the gateway itself.
    pub fn take_back(&self, pool: &Pool, id: &str) {
        let taken = self.session.mailbox().answer_for_server(id, code::CANCELLED, NO_LONGER_WANTED);
        if taken {
            taking::tell(&self.session, pool, jsonrpc::cancelled(id, NO_LONGER_WANTED));
        }
    }

    /// Sends the messages of one body unchanged.
    pub async fn post(
        &self,
        pool: &Pool,
        body: Bytes,
        messages: &[&Envelope<'_>],
        forwarded: &HeaderMap,
        takes_events: bool,
    ) -> Response<Body> {
        let session = &self.session;
        let is_request = |envelope: &&Envelope<'_>| envelope.kind() == Kind::Request;
        let requests: Cow<'_, [&Envelope<'_>]> = if messages.iter().all(is_request) {
            Cow::Borrowed(messages)
        } else {
            messages.iter().copied().filter(is_request).collect()
        };
        let Some(about) = requests.first().or(messages.first()) else {
            return responses::accepted();
        };
        for message in messages.iter().filter(|message| message.method() == methods::CANCELLED) {
            session.mailbox().cancel(message);
        }
        // Such a client wants log messages with its calls, and some servers write them to the GET stream.
        if session.asks_in_calls && about.method() == methods::SET_LEVEL {
            self.hear(pool, forwarded);
        }
        let asker = Asker::of(takes_events);
        if !requests.is_empty() {
            let admitted = session.mailbox().admits(&requests, session.rules.in_flight, asker);
            match admitted {
                Ok(()) => {}
                Err(MailboxRefusal::Gone) => return self.forgotten(about),
                Err(refused) => return responses::refuse(about, refused),
            }
        }
        let sent = Posted { body: &body, forwarded };
        let mut call = HttpCall::new(session, pool, &requests, sent, asker);
        // Rare branches below are boxed to keep this future small: every call creates one.
        let response = match call.send().await {
            FirstSecond::Came(response) => response,
            FirstSecond::Failed(failure) => {
                if matches!(failure, Failure::NotSent(_) | Failure::Short(_)) {
                    self.wait_for_answers(messages);
                }
                return self.unreachable(about, &failure);
            }
            FirstSecond::NoToken(why) => {
                self.wait_for_answers(messages);
                return self.without_token(about, &why);
            }
            FirstSecond::Expired(expired) => return self.expired(pool, about, &expired),
            FirstSecond::Late => return Box::pin(self.late(call, about, takes_events)).await,
        };
        if let (StatusCode::OK, [only], Some(id)) = (response.status(), messages, about.id_text())
            && only.kind() == Kind::Request
            && let Body::Full(body) = response.body()
            && is_answer_to(body, id)
        {
            if asker == Asker::Client {
                self.session.errors.note_text(body);
            }
            return responses::passed_on(response);
        }
        Box::pin(self.judged(call, response, about, &requests, takes_events)).await
    }

    /// Nothing was sent: the client may send its answers again.
    fn wait_for_answers(&self, messages: &[&Envelope<'_>]) {
        let answers = messages.iter().filter(|message| message.kind() == Kind::Response);
        answers.for_each(|answer| self.session.mailbox().questions.ask(answer));
    }

    /// Reads the upstream's answer into a stream of the gateway, which the client can resume. Used
    /// for event streams, and for a batch in answer to a single message, which clients of later
    /// revisions do not accept.
    pub(super) async fn stream(
        &self,
        call: HttpCall<'_>,
        source: AnswerSource,
        about: &Envelope<'_>,
        takes_events: bool,
    ) -> Response<Body> {
        let stream = match call.adopt() {
            Ok(stream) => stream,
            Err(refused) => return self.runs_apart(about, refused),
        };
        let reader = stream.read_on();
        call.read(source, &stream);
        self.respond(OPEN_AFTER, reader, about, takes_events).await
    }

    /// No response head within `OPEN_AFTER`: the client gets a stream of the gateway, which it can
    /// resume, while the exchange continues.
    async fn late(
        &self,
        mut call: HttpCall<'_>,
        about: &Envelope<'_>,
        takes_events: bool,
    ) -> Response<Body> {
        let stream = match call.adopt() {
            Ok(stream) => stream,
            Err(refused) => return self.runs_apart(about, refused),
        };
        let reader = stream.read_on();
        call.go_on(&stream);
        drop(call);
        self.respond(Duration::ZERO, reader, about, takes_events).await
    }

    async fn respond(
        &self,
        patience: Duration,
        reader: Reader,
        about: &Envelope<'_>,
        takes_events: bool,
    ) -> Response<Body> {
        let stream = Arc::clone(reader.stream());
        let request = about.id_text().filter(|_| stream.has_single_answer());
        let publish = || {
            let mut mailbox = self.session.mailbox();
            mailbox.publish(&stream);
            mailbox.tag(&stream, request)
        };
        let way = self.way();
        match events::respond_within(patience, reader, takes_events, way, publish).await {
            Some(mut response) => {
                if matches!(response.body(), Body::Full(_)) {
                    let messages = usize::from(request.is_some());
                    match stream.instead() {
                        Some(Reached::Refused) => {
                            responses::write_refusal(&mut response, messages);
                        }
                        Some(Reached::Settled) => {
                            responses::mark_settled(&mut response, messages);
                        }
                        Some(Reached::Perhaps | Reached::No) | None => {}
                    }
                }
                response
            }
            None => self.unanswered(about),
        }
    }

    /// Reads the upstream's GET stream from now on, if it has one.
    pub fn hear(&self, pool: &Pool, forwarded: &HeaderMap) {
        if !self.session.is_heard.swap(true, std::sync::atomic::Ordering::AcqRel) {
            let session = Arc::downgrade(&self.session);
            tokio::spawn(reader::listen(session, pool.clone(), forwarded.clone()));
        }
    }

    /// Reads the upstream's GET stream for a client that has none: servers ask there, too, and drop what
    /// nobody reads.
    pub async fn hear_questions(&self, pool: &Pool, forwarded: &HeaderMap) {
        self.hear(pool, forwarded);
        let mut heard = self.session.heard.watch();
        let _ = tokio::time::timeout(FIRST_HEARD_TIMEOUT, heard.raised()).await;
    }

    /// The client's GET stream. From now on the upstream's GET stream, if it has one, is read into
    /// it.
    pub async fn listen(
        &self,
        pool: &Pool,
        last_event_id: Option<&HeaderValue>,
        forwarded: &HeaderMap,
    ) -> Response<Body> {
        self.hear(pool, forwarded);
        // A client may expect that notifications arrive once it has its stream.
        let mut heard = self.session.heard.watch();
        let _ = tokio::time::timeout(HEARD_TIMEOUT, heard.raised()).await;
        responses::listen(&mut self.session.mailbox(), last_event_id, self.way())
    }

    /// Ends the upstream's session and cancels its calls in flight. Failures are only logged.
    pub async fn close(&self, pool: &Pool) {
        let session = &self.session;
        let ids = session.mailbox().ids();
        session.closing.raise();
        session.mailbox().end("the session has ended");
        let none = HeaderMap::new();
        let cancelling = ids.iter().map(|id| {
            let message = jsonrpc::cancelled(id, "the session has ended");
            session.client.post(pool, None, message, &none)
        });
        let cancelled = futures_util::future::join_all(cancelling);
        if tokio::time::timeout(CANCEL_TIMEOUT, cancelled).await.is_err() {
            tracing::debug!(server = %session.server, "cancellations upstream: no answer");
        }
        if session.has_session {
            session.client.leave(&session.server, pool).await;
        }
        // Only now: this future may be dropped before.
        self.is_left.store(true, Ordering::Release);
    }

    fn way(&self) -> Way {
        Way { keep_alive: self.session.rules.keep_alive, primes: self.session.primes }
    }
}

impl Drop for RemoteHttp {
    /// A session that was opened for nobody any more is left too: its client has gone meanwhile, or
    /// the opening has taken too long.
    fn drop(&mut self) {
        if *self.is_left.get_mut() || !self.session.has_session || self.is_lost() {
            return;
        }
        let (session, pool) = (Arc::clone(&self.session), self.pool.clone());
        let mut place = session.left.note();
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                tokio::select! {
                    () = session.client.leave(&session.server, &pool) => {}
                    () = place.given_up() => {}
                }
            });
        }
    }
}
