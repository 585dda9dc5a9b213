//! One pipe each way to a server, and the streams of its session: the common part of
//! stdio and HTTP+SSE.
//!
//! The transport writes the messages from [`Unwritten`], and hands what the server
//! sends to the pipe (`incoming`).

use std::sync::{Arc, MutexGuard, Weak};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use serde_json::value::RawValue;
use tokio::sync::watch;

use crate::model::ServerName;
use crate::net::Body;
use crate::protocol::jsonrpc::{self, Envelope, Kind, code};
use crate::protocol::methods;
use crate::protocol::splice::{self, RequestTarget};
use crate::seam::{Outcome, UserTokenRefused};
use crate::streams::{Part, Reached, Stream, Way, response as events};
use crate::sync::{Locked, Signal, now};

use super::answer::NO_LONGER_WANTED;
use super::in_flight::Asker;
use super::list_changes::ListChanges;
use super::mailbox::{Delivery, Mailbox, MailboxRefusal};
use super::queue::{ToServer, Unwritten};
use super::responses::{self, accepted, mark_settled, refuse, write_refusal};
use super::spoilt;
use super::terms::{SessionLimits, SessionTerms};
use super::timeout;

/// `None`, until the server is gone: then the reason.
pub type LostSignal = watch::Receiver<Option<Arc<str>>>;

/// The messages of one session to and from its server.
pub struct Pipe {
    pub server: ServerName,
    pub rules: SessionLimits,
    to_server: ToServer,
    mailbox: Locked<Mailbox>,
    /// Why the server is gone, once it is.
    pub(super) lost: watch::Sender<Option<Arc<str>>>,
    list_changes: ListChanges,
    primes: std::sync::atomic::AtomicBool,
    /// The error for the call that a line answers which is too long, while the line's
    /// end, with the id, is still to come.
    overflowing: Locked<Option<String>>,
    /// Raised when the server is gone: its last messages do not wait for readers.
    pub(super) hurries: Signal,
    /// The number of requests that the server has answered.
    pub(super) answers: std::sync::atomic::AtomicU32,
}

impl Pipe {
    #[must_use]
    pub fn new(server: &ServerName, terms: SessionTerms) -> (Arc<Self>, Unwritten) {
        let (to_server, outbox) = ToServer::new();
        let list_changes = ListChanges::new(Arc::clone(&terms.readings));
        let pipe = Self {
            server: server.clone(),
            rules: terms.limits,
            to_server,
            mailbox: Locked::new(Mailbox::of(terms)),
            lost: watch::Sender::new(None),
            list_changes,
            primes: false.into(),
            overflowing: Locked::default(),
            hurries: Signal::default(),
            answers: 0.into(),
        };
        (Arc::new(pipe), outbox)
    }

    /// Sets whether event streams begin with an event without data, which the session's
    /// protocol revision must know.
    pub fn may_prime(&self, primes: bool) {
        self.primes.store(primes, std::sync::atomic::Ordering::Relaxed);
    }

    /// Whether the server is gone.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost.borrow().is_some()
    }

    /// Changes when the server is gone.
    #[must_use]
    pub fn lost_signal(&self) -> LostSignal {
        self.lost.subscribe()
    }

    /// The server's list_changed notifications.
    #[must_use]
    pub fn list_changes(&self) -> &ListChanges {
        &self.list_changes
    }

    /// Puts a notification of the gateway onto the client's GET stream.
    pub fn announce(&self, notice: Bytes) {
        self.mailbox().unrelated().put(notice, Part::Notice);
    }

    /// State is being brought back, from now on or no more.
    pub fn restore(&self, is_restoring: bool) {
        self.mailbox().restore(is_restoring);
    }

    /// Whether the server has asked something meanwhile, since this was last asked.
    pub fn take_asked(&self) -> bool {
        self.mailbox().take_asked()
    }

    /// Whether a call is under way, or a client listens to the GET stream.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.is_working() || self.mailbox().is_heard()
    }

    /// Whether a call is under way.
    #[must_use]
    pub fn is_working(&self) -> bool {
        self.mailbox().is_working()
    }

    /// Whether the server waits for an answer of the client.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.mailbox().questions.are_open()
    }

    /// Whether a request with this id is under way.
    #[must_use]
    pub fn has_in_flight(&self, id: &str) -> bool {
        self.mailbox().has_in_flight(id)
    }

    /// Whether the server has closed its end.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.mailbox().is_gone()
    }

    /// The client's `initialize` is answered, by somebody else than the server.
    pub fn opened(&self) {
        self.mailbox().opened();
    }

    /// Answers a request with this error in the server's place.
    pub fn answer_instead(&self, id: &str, error: Bytes) {
        self.mailbox().answer_instead(id, error);
    }

    /// Sends one message. The response to a request carries its answer.
    pub async fn post(
        self: &Arc<Self>,
        message: Bytes,
        envelope: &Envelope<'_>,
        takes_events: bool,
    ) -> Response<Body> {
        self.post_all(&[(message, envelope)], takes_events, None).await
    }

    /// Sends messages that came together. Their requests are answered together. `subject` is the token of
    /// their client, for a server that gets one in exchange for it.
    pub async fn post_all(
        self: &Arc<Self>,
        messages: &[(Bytes, &Envelope<'_>)],
        takes_events: bool,
        subject: Option<&HeaderValue>,
    ) -> Response<Body> {
        let requests = || messages.iter().map(|(_, e)| *e).filter(|e| e.kind() == Kind::Request);
        let first = requests().next();
        let mut has_renamed = false;
        let stream = match first {
            None => None,
            Some(first) => {
                let (limit, asker) = (self.rules.in_flight, Asker::of(takes_events));
                if asker == Asker::Client {
                    self.list_changes.note_request(first.method(), now());
                }
                let expected = {
                    let mut mailbox = self.mailbox();
                    let expected = match messages {
                        [(_, only)] => mailbox.expect(&[only], limit, asker),
                        _ => {
                            let requests: Vec<&Envelope<'_>> = requests().collect();
                            mailbox.expect(&requests, limit, asker)
                        }
                    };
                    has_renamed = mailbox.has_renamed();
                    expected
                };
                match expected {
                    // The reader is attached before sending: only streams with one get
                    // messages that belong to no request.
                    Ok(stream) => Some((first, stream.read_on(), stream)),
                    Err(MailboxRefusal::Gone) => return self.not_sent(first),
                    Err(refused) => return refuse(first, refused),
                }
            }
        };
        let mut unsent = Unsent { pipe: self, messages };
        for (index, (message, envelope)) in messages.iter().enumerate() {
            if envelope.kind() == Kind::Response && !self.mailbox().questions.close_with(envelope) {
                continue;
            }
            let at_server = match has_renamed || envelope.method() == methods::CANCELLED {
                true => self.as_at_server(message, envelope),
                false => message.clone(),
            };
            if !self.send(at_server, subject).await {
                let about = first.unwrap_or(envelope);
                // The messages before it may have been read.
                return if index == 0 { self.not_sent(about) } else { self.not_answered(about) };
            }
            unsent.messages = messages.get(index + 1..).unwrap_or_default();
            if envelope.kind() == Kind::Notification {
                self.note_notice(envelope);
            }
            if envelope.kind() == Kind::Request && self.rules.timeouts.are_set() {
                self.watch(envelope);
            }
        }
        let Some((first, reader, stream)) = stream else { return accepted() };
        let request = first.id_text().filter(|_| messages.len() == 1);
        let publish = || {
            let mut mailbox = self.mailbox();
            mailbox.publish(&stream);
            mailbox.tag(&stream, request)
        };
        match events::respond(reader, takes_events, self.way(), publish).await {
            Some(mut response) => {
                // The client has got nothing of it yet, so the edge may repeat a request
                // that was not read. Others of a batch may have been read.
                if let Some(reached) = stream.instead()
                    && matches!(response.body(), Body::Full(_))
                {
                    match reached {
                        Reached::Refused => write_refusal(&mut response, messages.len()),
                        Reached::No if messages.len() == 1 => {
                            Outcome::UnknownSession.write(response.headers_mut());
                        }
                        Reached::No | Reached::Perhaps => {
                            Outcome::Sent.write(response.headers_mut())
                        }
                        // Of several, others may be the server's.
                        Reached::Settled => mark_settled(&mut response, messages.len()),
                    }
                }
                response
            }
            None => self.not_answered(first),
        }
    }

    /// A request, or the cancellation of one, under the id that the request has at the server.
    fn as_at_server(&self, message: &Bytes, envelope: &Envelope<'_>) -> Bytes {
        let named = match envelope.kind() {
            Kind::Request => envelope.id,
            Kind::Notification if envelope.method() == methods::CANCELLED => {
                RequestTarget::of(envelope.params).and_then(|params| params.request_id)
            }
            _ => None,
        };
        let renamed = |id: &RawValue| {
            let at_server = self.mailbox().renamed(id.get())?;
            let span = splice::span(message, id)?;
            Some(splice::replace(message, span, at_server.as_bytes()))
        };
        named.and_then(renamed).unwrap_or_else(|| message.clone())
    }

    fn note_notice(&self, notice: &Envelope<'_>) {
        let mut mailbox = self.mailbox();
        mailbox.sends_notice();
        if notice.method() == methods::CANCELLED {
            mailbox.cancel(notice);
        }
    }

    /// Cancels a request at the server.
    fn tell_cancelled(&self, id: &str, why: &str) {
        self.mailbox().sends_notice();
        self.to_server.try_send(jsonrpc::cancelled(id, why));
    }

    /// Forgets streams that nobody came back to.
    pub fn sweep(&self) {
        self.mailbox().sweep();
    }

    /// Cancels a request of the gateway's own, if it is still in flight.
    pub fn take_back(&self, id: &str) {
        let at_server = self.mailbox().renamed(id);
        let taken = self.mailbox().answer_for_server(id, code::CANCELLED, NO_LONGER_WANTED);
        if taken {
            self.tell_cancelled(at_server.as_deref().unwrap_or(id), NO_LONGER_WANTED);
        }
    }

    /// The GET stream, or the rest of the stream that the client resumes.
    pub fn listen(&self, last_event_id: Option<&HeaderValue>) -> Response<Body> {
        responses::listen(&mut self.mailbox(), last_event_id, self.way())
    }

    pub(super) async fn take_one(&self, message: Bytes) {
        if let Ok(envelope) = Envelope::parse(&message) {
            self.deliver(message.clone(), &envelope).await;
        }
    }

    /// Takes one message that is known to be about the request with this id.
    pub async fn take_about(&self, id: &str, message: Bytes) {
        if let Ok(envelope) = Envelope::parse(&message) {
            let delivery = self.delivery(Some(id), message.clone(), &envelope);
            self.hand_on(delivery).await;
        }
    }

    /// Takes one message of a shared process without waiting for its reader: a client
    /// that does not read must not stop the other sessions. It may miss notices then,
    /// never an answer.
    pub fn hand(&self, message: Bytes, envelope: &Envelope<'_>) {
        self.hand_about(None, message, envelope);
    }

    /// The same for a message that is about the request with this id, where that is known.
    pub fn hand_about(&self, about: Option<&str>, message: Bytes, envelope: &Envelope<'_>) {
        match self.delivery(about, message, envelope) {
            Delivery::To(stream, message, part) => self.put(&stream, message, part),
            Delivery::Reply(reply) => self.to_server.try_send(reply),
            Delivery::Done => {}
        }
    }

    fn delivery(&self, about: Option<&str>, message: Bytes, envelope: &Envelope<'_>) -> Delivery {
        if methods::is_list_changed(envelope.method()) && !self.list_changes.heard() {
            return Delivery::Done;
        }
        self.mailbox().deliver(about, message, envelope)
    }

    pub(super) async fn deliver(&self, message: Bytes, envelope: &Envelope<'_>) {
        self.hand_on(self.delivery(None, message, envelope)).await;
    }

    async fn hand_on(&self, delivery: Delivery) {
        match delivery {
            // Only this client's server waits for a slow client.
            Delivery::To(stream, message, part) => {
                if part == Part::Answer {
                    self.answers.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
                // Clients need not read the GET stream.
                if !stream.is_without_end() {
                    tokio::select! {
                        biased;
                        () = stream.room() => {}
                        () = self.hurried() => {}
                    }
                }
                self.put(&stream, message, part);
            }
            // A server that does not read must not stop the reader of its messages.
            Delivery::Reply(reply) => self.to_server.try_send(reply),
            Delivery::Done => {}
        }
    }

    fn put(&self, stream: &Stream, message: Bytes, part: Part) {
        for question in stream.put(message, part) {
            if let Some(answer) = self.mailbox().unread(&question) {
                self.to_server.try_send(answer);
            }
        }
    }

    async fn hurried(&self) {
        self.hurries.watch().raised().await;
    }

    /// Fails every request in flight; each may have run.
    pub fn fail_all(&self, text: &str) {
        self.mailbox().fail_all(text);
    }

    /// Fails a request that the server has not read a byte of: it may be repeated.
    pub fn note_unsent(&self, id: &str) {
        let text = format!("server {} has ended; nothing was sent to it", self.server);
        self.mailbox().unsent(id, &text);
    }

    /// Fails a request whose server has refused the token of the client's user.
    pub fn note_refused(&self, id: &str, refused: &UserTokenRefused) {
        self.mailbox().refused(id, &self.server, refused);
    }

    /// Fails a request that the server has answered with an invalid message, since no
    /// other answer will come.
    pub fn answers_nonsense(&self, id: &str, message: &[u8]) {
        let text = spoilt::tell(&self.server, message);
        self.answer_for_server(id, code::INTERNAL, &text);
    }

    /// Fails the only request in flight, if there is just one: an answer came that names none.
    pub(super) fn answers_only_nonsense(&self, message: &[u8]) {
        let text = spoilt::tell(&self.server, message);
        let found = self.mailbox().nonsense(&text);
        if let Some((stream, answer)) = found {
            self.put(&stream, answer, Part::Answer);
        }
    }

    /// Answers a request with an error in the server's place, if it is still in flight.
    pub fn answer_for_server(&self, id: &str, code: i64, text: &str) {
        self.mailbox().answer_for_server(id, code, text);
    }

    /// Fails the request with this id; returns whether it was in flight.
    pub(super) fn fail_one(&self, id: Option<String>, text: &str) -> bool {
        id.is_some_and(|id| self.mailbox().answer_for_server(&id, code::SERVER_LOST, text))
    }

    pub(super) fn overflowing(&self) -> MutexGuard<'_, Option<String>> {
        self.overflowing.lock()
    }

    /// Queues a message once there is room; returns `false` if the server is gone.
    async fn send(&self, message: Bytes, subject: Option<&HeaderValue>) -> bool {
        match self.to_server.reserve(message.len()).await {
            Some(place) => {
                place.send(message, subject);
                true
            }
            None => false,
        }
    }

    /// Fails the request, and cancels it at the server, if a timeout expires.
    fn watch(self: &Arc<Self>, request: &Envelope<'_>) {
        let Some(id) = request.id_text().map(str::to_owned) else { return };
        let (pipe, timeouts) = (Arc::downgrade(self), self.rules.timeouts);
        let began = Instant::now();
        tokio::spawn(async move {
            let last_progress = {
                let (pipe, id) = (Weak::clone(&pipe), id.clone());
                move || pipe.upgrade()?.mailbox().last_progress(&id)
            };
            let Some(expired) = timeout::expired(timeouts, began, last_progress).await else {
                return;
            };
            let Some(pipe) = pipe.upgrade() else { return };
            let text = format!("server {}: {expired}", pipe.server);
            tracing::info!("{text}");
            let at_server = pipe.mailbox().renamed(&id);
            pipe.mailbox().answer_for_server(&id, code::TIMED_OUT, &text);
            pipe.tell_cancelled(at_server.as_deref().unwrap_or(&id), &text);
        });
    }

    fn way(&self) -> Way {
        Way {
            keep_alive: self.rules.keep_alive,
            primes: self.primes.load(std::sync::atomic::Ordering::Relaxed),
        }
    }

    pub(super) fn mailbox(&self) -> MutexGuard<'_, Mailbox> {
        self.mailbox.lock()
    }

    fn not_sent(&self, envelope: &Envelope<'_>) -> Response<Body> {
        self.failed(envelope, Outcome::UnknownSession, "has ended; nothing was sent to it")
    }

    fn not_answered(&self, envelope: &Envelope<'_>) -> Response<Body> {
        self.failed(
            envelope,
            Outcome::Sent,
            "has ended while the call was under way; it may have run",
        )
    }

    fn failed(&self, envelope: &Envelope<'_>, outcome: Outcome, what: &str) -> Response<Body> {
        let text = format!("server {} {what}", self.server);
        let error = jsonrpc::error(envelope.id_text(), code::SERVER_LOST, &text);
        let mut response = events::json(error);
        *response.status_mut() = events::status_for(envelope, StatusCode::BAD_GATEWAY);
        outcome.write(response.headers_mut());
        response
    }
}

/// Messages that are not queued yet. If the client leaves before, they are never sent,
/// and on drop their requests leave the mailbox: no answer would come.
struct Unsent<'a> {
    pipe: &'a Pipe,
    messages: &'a [(Bytes, &'a Envelope<'a>)],
}

impl Drop for Unsent<'_> {
    fn drop(&mut self) {
        for (_, envelope) in self.messages.iter().filter(|(_, e)| e.kind() == Kind::Request) {
            self.pipe.mailbox().withdraw(envelope);
        }
    }
}

#[cfg(test)]
mod tests;
