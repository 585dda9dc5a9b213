//! One pipe each way to a server, and the streams of its session: what stdio and
//! HTTP+SSE have in common.
//!
//! Whoever owns the pipe takes messages out of [`Outbox`] and hands what the
//! server says to [`Pipe::take`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use serde_json::value::RawValue;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use crate::model::ServerName;
use crate::protocol::jsonrpc::{self, Envelope, Kind, code};
use crate::protocol::{methods, splice};
use crate::seam::{Body, Outcome};

use super::mailbox::{Delivery, Mailbox, Refused};
use super::timeout::{self, Timeouts};
use crate::streams::{Bounds, EventId, Part, Reached};
use crate::streams::{Way, response as events};

/// Messages waiting for a server that does not read, and their bytes; then its
/// clients wait.
const WRITE_QUEUE: usize = 256;
const WRITE_BYTES: u32 = 32 << 20;

/// What bounds one session at one server.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Longest line or event of a server, in bytes.
    pub line: usize,
    /// Requests in flight.
    pub in_flight: usize,
    /// Of one stream, for a client that comes back.
    pub kept: Bounds,
    pub keep_alive: std::time::Duration,
    pub timeouts: Timeouts,
}

/// Messages on their way to the server; each frees its room when it is dropped.
pub type Outbox = mpsc::Receiver<(Bytes, OwnedSemaphorePermit)>;

/// Becomes the reason when nothing more comes from the server.
pub type LostSignal = watch::Receiver<Option<Arc<str>>>;

pub struct Pipe {
    pub server: ServerName,
    pub rules: Rules,
    to_server: mpsc::Sender<(Bytes, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
    mailbox: Mutex<Mailbox>,
    /// Why nothing more comes from the server, once that is so.
    lost: watch::Sender<Option<Arc<str>>>,
    list_changes: watch::Sender<u32>,
    primes: std::sync::atomic::AtomicBool,
    /// Requests that the server has answered.
    answers: std::sync::atomic::AtomicU32,
}

impl Pipe {
    #[must_use]
    pub fn new(server: &ServerName, rules: Rules) -> (Arc<Self>, Outbox) {
        let (to_server, outbox) = mpsc::channel(WRITE_QUEUE);
        let pipe = Self {
            server: server.clone(),
            rules,
            to_server,
            room: Arc::new(Semaphore::new(WRITE_BYTES as usize)),
            mailbox: Mutex::new(Mailbox::new(rules.kept)),
            lost: watch::Sender::new(None),
            list_changes: watch::Sender::new(0),
            primes: false.into(),
            answers: 0.into(),
        };
        (Arc::new(pipe), outbox)
    }

    /// The client's revision has events without data.
    pub fn may_prime(&self, primes: bool) {
        self.primes.store(primes, std::sync::atomic::Ordering::Relaxed);
    }

    /// Why the server is gone, if it is.
    #[must_use]
    pub fn lost(&self) -> Option<Arc<str>> {
        self.lost.borrow().clone()
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

    /// Requests that the server has answered.
    #[must_use]
    pub fn answers(&self) -> u32 {
        self.answers.load(std::sync::atomic::Ordering::Relaxed)
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
                let expected = match messages {
                    [(_, only)] => self.mailbox().expect(&[only], self.rules.in_flight),
                    _ => {
                        let requests: Vec<&Envelope<'_>> = requests().collect();
                        self.mailbox().expect(&requests, self.rules.in_flight)
                    }
                };
                match expected {
                    // Whoever has no reader yet would not be found by what comes first.
                    Ok(stream) => Some((first, stream.read_on(), stream)),
                    Err(Refused::Gone) => return self.not_sent(first),
                    Err(refused) => return refuse(first, refused),
                }
            }
        };
        for (message, envelope) in messages {
            if !self.send(splice::on_one_line(message.clone())).await {
                return self.not_sent(first.unwrap_or(envelope));
            }
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
                // Nothing of it has been told: the edge may send it again.
                let outcome = stream.lost().map(|reached| match reached {
                    Reached::Perhaps => Outcome::Sent,
                    Reached::No => Outcome::UnknownSession,
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

    /// The GET stream, or what is left of the stream that the client comes back to.
    pub fn listen(&self, last_event_id: Option<&HeaderValue>) -> Response<Body> {
        listen(&mut self.mailbox(), last_event_id, self.way())
    }

    /// Takes one message of the server.
    pub async fn take(&self, message: Bytes) {
        let Ok(envelope) = Envelope::parse(&message) else {
            if let Ok(Some(batch)) = jsonrpc::batch(&message) {
                for part in batch {
                    let part = Bytes::copy_from_slice(part.get().as_bytes());
                    // Batches do not nest.
                    Box::pin(self.take_one(part)).await;
                }
                return;
            }
            self.take_malformed(&message);
            return;
        };
        self.deliver(message.clone(), &envelope).await;
    }

    /// A line that is no message. If it says which request it should have answered,
    /// that one is answered: nobody else would.
    fn take_malformed(&self, line: &[u8]) {
        #[derive(serde::Deserialize)]
        struct Id<'a> {
            #[serde(borrow)]
            id: &'a RawValue,
            method: Option<serde::de::IgnoredAny>,
        }
        match serde_json::from_slice::<Id<'_>>(line) {
            Ok(Id { id, method: None }) => {
                tracing::warn!(server = %self.server, "an answer that is no JSON-RPC 2.0 message");
                let text = format!(
                    "server {} answered with something that is no JSON-RPC 2.0 message",
                    self.server
                );
                self.answer_for_server(id.get(), code::INTERNAL, &text);
            }
            Ok(_) | Err(_) => {
                tracing::debug!(server = %self.server, bytes = line.len(), "a line that is no message");
            }
        }
    }

    async fn take_one(&self, message: Bytes) {
        if let Ok(envelope) = Envelope::parse(&message) {
            self.deliver(message.clone(), &envelope).await;
        }
    }

    async fn deliver(&self, message: Bytes, envelope: &Envelope<'_>) {
        if methods::is_list_changed(envelope.method()) {
            self.list_changes.send_modify(|count| *count += 1);
        }
        let delivery = self.mailbox().deliver(message, envelope);
        match delivery {
            // A client that reads slowly slows its own server down, nobody else's.
            Delivery::To(stream, message, part) => {
                if part == Part::Answer {
                    self.answers.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
                stream.push(message, part).await;
            }
            // A server that does not read must not stop its own reader.
            Delivery::Reply(reply) => self.try_send(reply),
            Delivery::Done => {}
        }
    }

    /// Answers everything in flight: what came cannot be told apart.
    pub fn fail_all(&self, text: &str) {
        self.mailbox().fail_all(text);
    }

    /// Lines that the server has not read a byte of, and will not.
    pub fn unsent(&self, lines: &[u8]) {
        let text = format!("server {} has ended; nothing was sent to it", self.server);
        for line in lines.split(|byte| *byte == b'\n') {
            if let Ok(envelope) = Envelope::parse(line)
                && envelope.kind() == Kind::Request
                && let Some(id) = envelope.id_text()
            {
                self.mailbox().unsent(id, &text);
            }
        }
    }

    /// Answers a request in the server's place, if it is still in flight.
    pub fn answer_for_server(&self, id: &str, code: i64, text: &str) {
        self.mailbox().answer_for_server(id, code, text);
    }

    /// Nothing more comes from the server.
    pub fn end(&self) {
        let text = format!(
            "server {} has ended while the call was under way; it may have run",
            self.server
        );
        self.mailbox().end(&text);
    }

    /// Says for what reason, to whoever waits for it.
    pub fn is_lost_because(&self, how: &str) {
        let why: Arc<str> = format!("server {} has ended ({how})", self.server).into();
        self.lost.send_replace(Some(why));
    }

    async fn send(&self, message: Bytes) -> bool {
        let size = u32::try_from(message.len()).unwrap_or(WRITE_BYTES).min(WRITE_BYTES);
        match Arc::clone(&self.room).acquire_many_owned(size).await {
            Ok(permit) => self.to_server.send((message, permit)).await.is_ok(),
            Err(_) => false,
        }
    }

    fn try_send(&self, message: Bytes) {
        let size = u32::try_from(message.len()).unwrap_or(WRITE_BYTES).min(WRITE_BYTES);
        if let Ok(permit) = Arc::clone(&self.room).try_acquire_many_owned(size) {
            let _ = self.to_server.try_send((message, permit));
        }
    }

    /// Answers the request itself if the server takes longer than it may.
    fn watch(self: &Arc<Self>, request: &Envelope<'_>) {
        let Some(id) = request.id_text().map(str::to_owned) else { return };
        let (pipe, timeouts) = (Arc::downgrade(self), self.rules.timeouts);
        tokio::spawn(async move {
            let last_progress = {
                let (pipe, id) = (Weak::clone(&pipe), id.clone());
                move || pipe.upgrade()?.mailbox().last_progress(&id)
            };
            let Some(expired) = timeout::expired(timeouts, last_progress).await else { return };
            let Some(pipe) = pipe.upgrade() else { return };
            let text = format!("server {}: {expired}", pipe.server);
            tracing::info!("{text}");
            pipe.mailbox().answer_for_server(&id, code::TIMED_OUT, &text);
            pipe.try_send(timeout::cancelled(&id, &text));
        });
    }

    fn way(&self) -> Way {
        Way {
            keep_alive: self.rules.keep_alive,
            primes: self.primes.load(std::sync::atomic::Ordering::Relaxed),
        }
    }

    fn mailbox(&self) -> MutexGuard<'_, Mailbox> {
        self.mailbox.lock().unwrap_or_else(PoisonError::into_inner)
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

/// The GET stream of a session, or what is left of the stream that the client
/// comes back to. What an earlier instance had is gone: then the client hears
/// what became of its request, or that lists may have changed.
pub fn listen(
    mailbox: &mut Mailbox,
    last_event_id: Option<&HeaderValue>,
    way: Way,
) -> Response<Body> {
    let last = last_event_id.and_then(|id| id.to_str().ok());
    let place = last.and_then(EventId::parse);
    let known = place.as_ref().filter(|place| place.instance == mailbox.instance());
    if let Some(place) = known
        && let Some(stream) = mailbox.published(place.stream)
    {
        let reader = stream.read_after(place.number);
        if reader.has_gap && stream.number == mailbox.unrelated().number {
            say_that_lists_changed(mailbox);
        }
        let tag = mailbox.tag(&stream, place.request.as_deref());
        mailbox.publish(&stream);
        return events::event_stream(reader, tag, way);
    }
    if let (Some(place), Some(last)) = (&place, last)
        && let Some(request) = &place.request
    {
        let text = "the answer is no longer there: its server's session was lost, or it was \
                    fetched too late; the call may have run";
        return events::last_words(last, jsonrpc::error(Some(request), code::SERVER_LOST, text));
    }
    match mailbox.listen() {
        Ok(stream) => {
            let reader = stream.read_on();
            if last.is_some() || reader.has_gap {
                say_that_lists_changed(mailbox);
            }
            mailbox.publish(&stream);
            events::event_stream(reader, mailbox.tag(&stream, None), way)
        }
        Err(_) => conflict("another GET stream of this session is open"),
    }
}

fn say_that_lists_changed(mailbox: &Mailbox) {
    for list in ["tools", "prompts", "resources"] {
        let method = format!("notifications/{list}/list_changed");
        mailbox.unrelated().put(jsonrpc::notification(&method), Part::Notice);
    }
}

pub fn accepted() -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

fn conflict(text: &str) -> Response<Body> {
    let mut response = events::json(jsonrpc::error(None, code::TRANSPORT, text));
    *response.status_mut() = StatusCode::CONFLICT;
    response
}

pub fn refuse(envelope: &Envelope<'_>, refused: Refused) -> Response<Body> {
    let (status, text) = match refused {
        Refused::DuplicateId => {
            (StatusCode::BAD_REQUEST, "a request with this id is still in flight in this session")
        }
        Refused::TooMany => {
            (StatusCode::TOO_MANY_REQUESTS, "too many requests in flight in this session")
        }
        Refused::AlreadyListening => (StatusCode::CONFLICT, "already listening"),
        Refused::Gone => (StatusCode::BAD_GATEWAY, "the server has ended"),
    };
    let mut response =
        events::json(jsonrpc::error(envelope.id_text(), code::INVALID_REQUEST, text));
    *response.status_mut() = status;
    response
}
