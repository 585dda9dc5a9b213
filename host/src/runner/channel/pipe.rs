//! One pipe each way to a server, and the streams of its session: what stdio and
//! HTTP+SSE have in common.
//!
//! Whoever owns the pipe takes messages out of [`Unwritten`] and hands what the
//! server says to the pipe (`taking`).

use std::sync::{Arc, MutexGuard, Weak};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use tokio::sync::watch;

use crate::model::ServerName;
use crate::net::Body;
use crate::protocol::jsonrpc::{self, Envelope, Kind, code};
use crate::protocol::{methods, splice};
use crate::seam::Outcome;
use crate::streams::{Bounds, Part, Reached, Stream, Way, response as events};
use crate::sync::{Locked, Signal};

use super::answer::TAKEN_BACK;
use super::mailbox::{Asker, Delivery, Mailbox, MailboxRefusal};
use super::queue::{ToServer, Unwritten};
use super::responses::{self, accepted, refuse};
use super::timeout::{self, Timeouts};

/// What bounds one session at one server.
#[derive(Debug, Clone, Copy)]
pub struct SessionLimits {
    /// Longest line or event of a server, in bytes.
    pub line: usize,
    /// Requests in flight.
    pub in_flight: usize,
    /// Of one stream, for a client that comes back.
    pub kept: Bounds,
    pub keep_alive: std::time::Duration,
    pub timeouts: Timeouts,
}

/// Becomes the reason when nothing more comes from the server.
pub type LostSignal = watch::Receiver<Option<Arc<str>>>;

pub struct Pipe {
    pub server: ServerName,
    pub rules: SessionLimits,
    to_server: ToServer,
    mailbox: Locked<Mailbox>,
    /// Why nothing more comes from the server, once that is so.
    pub(super) lost: watch::Sender<Option<Arc<str>>>,
    list_changes: watch::Sender<u32>,
    primes: std::sync::atomic::AtomicBool,
    /// What to say to whoever waits for a line that is too long, once it is known
    /// who that is.
    overflowing: Locked<Option<String>>,
    /// The server is gone: its last words wait for no reader.
    pub(super) hurries: Signal,
    /// Requests that the server has answered.
    pub(super) answers: std::sync::atomic::AtomicU32,
}

impl Pipe {
    #[must_use]
    pub fn new(server: &ServerName, rules: SessionLimits) -> (Arc<Self>, Unwritten) {
        let (to_server, outbox) = ToServer::new();
        let pipe = Self {
            server: server.clone(),
            rules,
            to_server,
            mailbox: Locked::new(Mailbox::new(rules.kept)),
            lost: watch::Sender::new(None),
            list_changes: watch::Sender::new(0),
            primes: false.into(),
            overflowing: Locked::default(),
            hurries: Signal::default(),
            answers: 0.into(),
        };
        (Arc::new(pipe), outbox)
    }

    /// The client's revision has events without data.
    pub fn may_prime(&self, primes: bool) {
        self.primes.store(primes, std::sync::atomic::Ordering::Relaxed);
    }

    /// Whether the server is gone.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost.borrow().is_some()
    }

    #[must_use]
    pub fn lost_signal(&self) -> LostSignal {
        self.lost.subscribe()
    }

    /// Counts the server's list_changed notifications.
    #[must_use]
    pub fn list_changes(&self) -> watch::Receiver<u32> {
        self.list_changes.subscribe()
    }

    /// Whether a call is under way or somebody listens.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.is_working() || self.mailbox().is_heard()
    }

    /// Whether a call is under way.
    #[must_use]
    pub fn is_working(&self) -> bool {
        self.mailbox().is_working()
    }

    /// Whether the server has closed its end.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.mailbox().is_gone()
    }

    /// Sends one message; a request is answered by the response this gives.
    pub async fn post(
        self: &Arc<Self>,
        message: Bytes,
        envelope: &Envelope<'_>,
        takes_events: bool,
    ) -> Response<Body> {
        self.post_all(&[(message, envelope)], takes_events).await
    }

    /// Sends messages that came together; their requests are answered together.
    pub async fn post_all(
        self: &Arc<Self>,
        messages: &[(Bytes, &Envelope<'_>)],
        takes_events: bool,
    ) -> Response<Body> {
        let requests = || messages.iter().map(|(_, e)| *e).filter(|e| e.kind() == Kind::Request);
        let first = requests().next();
        let stream = match first {
            None => None,
            Some(first) => {
                let (limit, asker) = (self.rules.in_flight, Asker::of(takes_events));
                let expected = match messages {
                    [(_, only)] => self.mailbox().expect(&[only], limit, asker),
                    _ => {
                        let requests: Vec<&Envelope<'_>> = requests().collect();
                        self.mailbox().expect(&requests, limit, asker)
                    }
                };
                match expected {
                    // Whoever has no reader yet would not be found by what comes first.
                    Ok(stream) => Some((first, stream.read_on(), stream)),
                    Err(MailboxRefusal::Gone) => return self.not_sent(first),
                    Err(refused) => return refuse(first, refused),
                }
            }
        };
        let mut unsent = Unsent { pipe: self, messages };
        for (index, (message, envelope)) in messages.iter().enumerate() {
            if envelope.kind() == Kind::Response
                && !self.mailbox().questions.is_answered_by(envelope)
            {
                continue;
            }
            if !self.send(splice::on_one_line(message.clone())).await {
                let about = first.unwrap_or(envelope);
                // What came before it may have been read.
                return if index == 0 { self.not_sent(about) } else { self.not_answered(about) };
            }
            unsent.messages = messages.get(index + 1..).unwrap_or_default();
            if envelope.method() == methods::CANCELLED {
                self.mailbox().cancel(envelope);
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
                // Nothing of it has been told: the edge may send it again. Of messages
                // that came together others may have been read.
                let outcome = stream.lost().map(|reached| match reached {
                    Reached::No if messages.len() == 1 => Outcome::UnknownSession,
                    Reached::No | Reached::Perhaps => Outcome::Sent,
                });
                if let Some(outcome) = outcome
                    && matches!(response.body(), Body::Full(_))
                {
                    outcome.write(response.headers_mut());
                }
                response
            }
            None => self.not_answered(first),
        }
    }

    /// Nobody waits for the answer to this request any more.
    pub fn take_back(&self, id: &str) {
        let taken = self.mailbox().answer_for_server(id, code::CANCELLED, TAKEN_BACK);
        if taken {
            self.to_server.try_send(jsonrpc::cancelled(id, TAKEN_BACK));
        }
    }

    /// The GET stream, or what is left of the stream that the client comes back to.
    pub fn listen(&self, last_event_id: Option<&HeaderValue>) -> Response<Body> {
        responses::listen(&mut self.mailbox(), last_event_id, self.way())
    }

    pub(super) async fn take_one(&self, message: Bytes) {
        if let Ok(envelope) = Envelope::parse(&message) {
            self.deliver(message.clone(), &envelope).await;
        }
    }

    /// Takes one message without waiting for whoever reads it: one client that
    /// does not read must not stop the others of its server. What it misses then
    /// is notices, never an answer.
    pub fn hand(&self, message: Bytes, envelope: &Envelope<'_>) {
        match self.delivery(message, envelope) {
            Delivery::To(stream, message, part) => self.put(&stream, message, part),
            Delivery::Reply(reply) => self.to_server.try_send(reply),
            Delivery::Done => {}
        }
    }

    fn delivery(&self, message: Bytes, envelope: &Envelope<'_>) -> Delivery {
        if methods::is_list_changed(envelope.method()) {
            self.list_changes.send_modify(|count| *count += 1);
        }
        self.mailbox().deliver(message, envelope)
    }

    pub(super) async fn deliver(&self, message: Bytes, envelope: &Envelope<'_>) {
        match self.delivery(message, envelope) {
            // A client that reads slowly slows its own server down, nobody else's.
            Delivery::To(stream, message, part) => {
                if part == Part::Answer {
                    self.answers.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
                // Nobody need read the GET stream.
                if !stream.is_without_end() {
                    tokio::select! {
                        biased;
                        () = stream.room() => {}
                        () = self.hurried() => {}
                    }
                }
                self.put(&stream, message, part);
            }
            // A server that does not read must not stop its own reader.
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

    /// Answers everything in flight.
    pub fn fail_all(&self, text: &str) {
        self.mailbox().fail_all(text);
    }

    /// The server has not read a byte of this request, and will not.
    pub fn note_unsent(&self, id: &str) {
        let text = format!("server {} has ended; nothing was sent to it", self.server);
        self.mailbox().unsent(id, &text);
    }

    /// The server answers this request with a line that is no message: nobody else
    /// would answer it.
    pub fn answers_nonsense(&self, id: &str) {
        tracing::warn!(server = %self.server, "an answer that is no JSON-RPC 2.0 message");
        let text = format!(
            "server {} answered with something that is no JSON-RPC 2.0 message",
            self.server
        );
        self.answer_for_server(id, code::INTERNAL, &text);
    }

    /// Answers a request in the server's place, if it is still in flight.
    pub fn answer_for_server(&self, id: &str, code: i64, text: &str) {
        self.mailbox().answer_for_server(id, code, text);
    }

    /// Says whether the request was in flight.
    pub(super) fn fail_one(&self, id: Option<String>, text: &str) -> bool {
        id.is_some_and(|id| self.mailbox().answer_for_server(&id, code::SERVER_LOST, text))
    }

    pub(super) fn overflowing(&self) -> MutexGuard<'_, Option<String>> {
        self.overflowing.lock()
    }

    async fn send(&self, message: Bytes) -> bool {
        match self.to_server.reserve(message.len()).await {
            Some(place) => {
                place.send(message);
                true
            }
            None => false,
        }
    }

    /// Answers the request itself if the server takes longer than it may.
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
            pipe.mailbox().answer_for_server(&id, code::TIMED_OUT, &text);
            pipe.to_server.try_send(jsonrpc::cancelled(&id, &text));
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

/// Messages on their way to the pipe. A client that leaves before there is room for
/// them takes them along: nobody would ever answer their requests.
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
