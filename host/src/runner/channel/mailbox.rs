//! Decides which stream of the session a server's message goes to.
//!
//! Responses go by id and progress by token. On a pipe nothing shows to which request
//! a log message or a request of the server belongs. Within one session any live
//! stream is right: the client's newest request in flight gets it, or the GET stream
//! if there is none (`places`). Without a listener messages are kept, within bounds.

mod arriving;
mod early_cancels;
mod early_progress;
mod held_questions;
mod kept_streams;
mod places;
mod questions;
mod task_tokens;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::model::ServerName;
use crate::protocol::jsonrpc::{self, Envelope, code};
use crate::protocol::methods;
use crate::seam::UserTokenRefused;
use crate::streams::{self, Bounds, EventId, KeptOfKey, Part, Reached, Stream, Tag};
use crate::sync::now;

use self::early_cancels::EarlyCancels;
use self::early_progress::EarlyProgress;
use self::held_questions::HeldQuestions;
use self::kept_streams::KeptStreams;
use self::questions::Questions;
use self::task_tokens::TaskTokens;
use super::error_counts::{ErrorCounts, code_in};
use super::in_flight::{Asker, InFlight, Requests};
use super::message_ids::{cancelled_request, key, progress_token};
use super::notices::SentNotices;
use super::own_answers::Absent;
use super::terms::SessionTerms;

const GET: u64 = EventId::GET;

const CANCELLED: &str = "cancelled by the client";

/// The requests in flight and the streams of one session at one server.
pub struct Mailbox {
    in_flight: Requests,
    task_tokens: TaskTokens,
    early_progress: EarlyProgress,
    /// Notifications that the server may still answer with an error.
    notices: SentNotices,
    next_stream: u64,
    get: Arc<Stream>,
    published: KeptStreams,
    /// The server's requests that are not answered yet.
    pub questions: Questions,
    /// Whether the session is the edge's, in place of a client that has none: such a client is asked in
    /// the answers to its requests alone.
    asks_in_calls: bool,
    /// Questions that wait for such a request.
    held: HeldQuestions,
    early_cancels: EarlyCancels,
    bounds: Bounds,
    /// Whom its streams count for.
    kept: Arc<KeptOfKey>,
    /// Distinguishes event ids of this instance from those of others.
    instance: u32,
    /// Whether nothing more comes from the server.
    gone: bool,
    /// Why no client can be asked anything now.
    absent: Option<Absent>,
    /// Whether the server has asked something while state was brought back.
    has_asked: bool,
    pub errors: Arc<ErrorCounts>,
}

/// Where a message goes.
pub enum Delivery {
    To(Arc<Stream>, Bytes, Part),
    /// Back to the server: the runner itself answers its request.
    Reply(Bytes),
    Done,
}

/// Why requests or a listener were not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailboxRefusal {
    DuplicateId,
    /// The limit of requests in flight is reached.
    TooMany,
    /// The server has ended: nothing was sent.
    Gone,
}

impl Mailbox {
    #[must_use]
    pub fn new(bounds: Bounds, kept: Arc<KeptOfKey>) -> Self {
        Self {
            in_flight: Requests::default(),
            task_tokens: TaskTokens::default(),
            early_progress: EarlyProgress::default(),
            notices: SentNotices::default(),
            next_stream: GET + 1,
            get: Stream::counted(GET, None, bounds, &kept),
            published: KeptStreams::default(),
            questions: Questions::default(),
            asks_in_calls: false,
            held: HeldQuestions::default(),
            early_cancels: EarlyCancels::default(),
            bounds,
            kept,
            instance: streams::instance(),
            gone: false,
            absent: None,
            has_asked: false,
            errors: Arc::default(),
        }
    }

    /// The mailbox of a session whose `initialize` is still to be answered.
    #[must_use]
    pub fn of(terms: SessionTerms) -> Self {
        let absent = if terms.has_client { Absent::NotYet } else { Absent::NoClient };
        let SessionTerms { errors, asks_in_calls, limits, kept, .. } = terms;
        Self { absent: Some(absent), errors, asks_in_calls, ..Self::new(limits.kept, kept) }
    }

    /// The client's `initialize` is answered: from now on it can be asked.
    pub fn opened(&mut self) {
        self.absent = self.absent.filter(|absent| *absent != Absent::NotYet);
    }

    /// State is being brought back, from now on or no more: the client is asked nothing, and hears
    /// nothing of it.
    pub fn restore(&mut self, is_restoring: bool) {
        self.absent = is_restoring.then_some(Absent::Restoring);
        self.has_asked = false;
    }

    /// Whether the server has asked something since this was last asked.
    pub fn take_asked(&mut self) -> bool {
        std::mem::take(&mut self.has_asked)
    }

    /// Whether a notification is about calls that the client has not made.
    #[must_use]
    pub fn is_of_restoration(&self, method: &str) -> bool {
        self.absent == Some(Absent::Restoring) && !methods::is_unrelated(method)
    }

    /// Enters these requests, all or none. Returns the stream for their answers.
    pub fn expect(
        &mut self,
        requests: &[&Envelope<'_>],
        limit: usize,
        asker: Asker,
    ) -> Result<Arc<Stream>, MailboxRefusal> {
        if !self.has_room(requests.len(), limit, asker) && !self.gone {
            return Err(MailboxRefusal::TooMany);
        }
        self.enter(requests, now(), asker, Requests::insert_apart)
    }

    /// Whether a request in flight has another id at the server than its client's.
    #[must_use]
    pub fn has_renamed(&self) -> bool {
        self.in_flight.has_renamed()
    }

    /// The id at the server of a request in flight, if it is another than its client's.
    #[must_use]
    pub fn renamed(&self, id: &str) -> Option<String> {
        self.in_flight.renamed(id)
    }

    /// The id of the request of this stream that a server means by another one.
    #[must_use]
    pub fn meant_at(&self, stream: &Arc<Stream>, id: &str) -> Option<String> {
        self.in_flight.meant_at(stream, id)
    }

    /// Whether these requests may be sent, without entering them: over HTTP, a request
    /// that is answered soon is never entered.
    pub fn admits(
        &self,
        requests: &[&Envelope<'_>],
        limit: usize,
        asker: Asker,
    ) -> Result<(), MailboxRefusal> {
        if self.gone {
            return Err(MailboxRefusal::Gone);
        }
        if !self.has_room(requests.len(), limit, asker) {
            return Err(MailboxRefusal::TooMany);
        }
        let mut ids = requests.iter().filter_map(|request| request.id_text());
        if !self.in_flight.is_empty() && ids.any(|id| self.in_flight.has(id)) {
            return Err(MailboxRefusal::DuplicateId);
        }
        Ok(())
    }

    /// Client and gateway may each have `limit` requests in flight.
    fn has_room(&self, more: usize, limit: usize, asker: Asker) -> bool {
        let taken = || self.in_flight.values().filter(|request| request.asker == asker).count();
        self.in_flight.len() + more <= limit || taken() + more <= limit
    }

    /// Enters requests that have been running since `began`, whatever the limit. Returns
    /// the stream for their answers. Those cancelled since then are answered at once.
    pub fn adopt(
        &mut self,
        requests: &[&Envelope<'_>],
        began: Instant,
        asker: Asker,
    ) -> Result<Arc<Stream>, MailboxRefusal> {
        // It was sent under its own.
        let stream = self.enter(requests, began, asker, Requests::insert)?;
        for request in requests {
            let Some(id) = request.id_text() else { continue };
            let key = key(id);
            if self.early_cancels.has(&key, began) {
                self.answer_for_server(id, code::CANCELLED, CANCELLED);
            }
            if let Some(token) = self.in_flight.get(id).and_then(|r| r.progress_token.clone()) {
                for message in self.early_progress.take(&token, began) {
                    stream.put(message, Part::Notice);
                }
            }
        }
        self.put_early(&stream, asker, began);
        Ok(stream)
    }

    fn enter(
        &mut self,
        requests: &[&Envelope<'_>],
        began: Instant,
        asker: Asker,
        insert: fn(&mut Requests, String, InFlight),
    ) -> Result<Arc<Stream>, MailboxRefusal> {
        if self.gone {
            return Err(MailboxRefusal::Gone);
        }
        let (number, owed) = (self.next_stream, Some(requests.len()));
        let stream = Stream::counted(number, owed, self.bounds, &self.kept);
        let mut entered: Vec<String> = Vec::new();
        for request in requests {
            let key = key(request.id_text().unwrap_or("null"));
            if self.in_flight.has(&key) {
                for key in entered {
                    self.in_flight.remove(&key);
                }
                return Err(MailboxRefusal::DuplicateId);
            }
            let in_flight = InFlight {
                stream: Arc::clone(&stream),
                asker,
                progress_token: progress_token(request),
                order: self.next_stream,
                last_progress: began,
                may_ask: self.asks_in_calls && places::may_ask(request.method()),
                task: TaskTokens::asks(request),
                own: None,
            };
            if requests.len() > 1 {
                entered.push(key.clone());
            }
            insert(&mut self.in_flight, key, in_flight);
        }
        self.next_stream += 1;
        self.put_held(&stream, Some(began));
        Ok(stream)
    }

    /// The GET stream, which carries the messages that belong to no request.
    #[must_use]
    pub fn unrelated(&self) -> &Arc<Stream> {
        &self.get
    }

    /// Keeps the stream so that a client can resume it.
    pub fn publish(&mut self, stream: &Arc<Stream>) {
        stream.publish();
        if stream.number != GET {
            self.published.keep(stream);
        }
    }

    /// The stream with this number, if a client can resume it.
    #[must_use]
    pub fn published(&self, number: u64) -> Option<Arc<Stream>> {
        if number == GET {
            return Some(Arc::clone(&self.get));
        }
        // One that has given way has not got the answer any more.
        let stream = self.published.get(number).filter(|stream| !stream.has_given_way());
        stream.map(Arc::clone)
    }

    /// Forgets streams that nobody came back to.
    pub fn sweep(&mut self) {
        self.published.sweep(now());
    }

    /// The number in the event ids of this instance.
    #[must_use]
    pub fn instance(&self) -> u32 {
        self.instance
    }

    /// The common parts of a stream's event ids.
    #[must_use]
    pub fn tag(&self, stream: &Stream, request: Option<&str>) -> Tag {
        Tag::new(self.instance, stream.number, request)
    }

    /// The client cancels a request. The server does not answer it then, so it is
    /// answered here; if it is not in flight yet, the cancellation is remembered.
    pub fn cancel(&mut self, cancelled: &Envelope<'_>) {
        let Some(id) = cancelled_request(cancelled) else { return };
        if !self.answer_for_server(id, code::CANCELLED, CANCELLED) {
            self.early_cancels.remember(id);
        }
    }

    /// Answers a request with an error in the server's place. Returns whether it was
    /// still in flight.
    pub fn answer_for_server(&mut self, id: &str, code: i64, text: &str) -> bool {
        let Some((own, request)) = self.in_flight.give_up(id) else { return false };
        self.note_own(&request, code);
        let id = own.as_deref().unwrap_or(id);
        request.stream.put(jsonrpc::error(Some(id), code, text), Part::Answer);
        true
    }

    /// Answers a request with this error in the server's place, if it is still in flight.
    pub fn answer_instead(&mut self, id: &str, error: Bytes) {
        let Some((own, request)) = self.in_flight.give_up(id) else { return };
        self.note_own(&request, code_in(&error));
        let error = match own {
            Some(own) => arriving::under(&own, error),
            None => error,
        };
        request.stream.put(error, Part::Answer);
    }

    /// Whether a client gets the answer to this request: not that of the gateway's own requests, and
    /// not that of the opening, of which the client is told in other words.
    fn counts(&self, request: &InFlight) -> bool {
        request.asker == Asker::Client && self.absent != Some(Absent::NotYet)
    }

    /// Counts an error in the server's place, and has the response say whose it is.
    fn note_own(&self, request: &InFlight, code: i64) {
        if self.counts(request) {
            self.errors.note_own(code);
            request.stream.note_instead(Reached::Settled);
        }
    }

    /// Forgets a request that was not sent after all.
    pub fn withdraw(&mut self, request: &Envelope<'_>) {
        if let Some(id) = request.id_text() {
            self.in_flight.remove(id);
        }
    }

    /// Closes a question that is dropped unread. Returns the answer for the server.
    pub fn unread(&mut self, question: &[u8]) -> Option<Bytes> {
        let envelope = Envelope::parse(question).ok()?;
        let id = envelope.id_text()?;
        self.questions.forget(id);
        Some(streams::unread_question(id))
    }

    /// Fails a request that the server has not read a byte of: it may be repeated.
    pub fn unsent(&mut self, id: &str, message: &str) {
        if let Some(request) = self.in_flight.remove(id) {
            let own = request.own.as_deref().unwrap_or(id);
            let error = jsonrpc::error(Some(own), code::SERVER_LOST, message);
            request.stream.put_instead(error, Reached::No);
        }
    }

    /// Fails a request whose server has refused the token of the client's user: with another token it may
    /// be repeated.
    pub fn refused(&mut self, id: &str, server: &ServerName, refused: &UserTokenRefused) {
        if let Some(request) = self.in_flight.remove(id) {
            let own = request.own.as_deref().unwrap_or(id);
            request.stream.put_instead(refused.error(Some(own), server), Reached::Refused);
        }
    }

    /// When a request in flight last made progress, or began. `None` if it is over.
    #[must_use]
    pub fn last_progress(&self, id: &str) -> Option<Instant> {
        self.in_flight.get(id).map(|request| request.last_progress)
    }

    /// The ids of the requests in flight.
    #[must_use]
    pub fn ids(&self) -> Vec<String> {
        self.in_flight.ids()
    }

    /// Whether a request with this id is in flight.
    #[must_use]
    pub fn has_in_flight(&self, id: &str) -> bool {
        self.in_flight.has(id)
    }

    /// Whether a request is in flight.
    #[must_use]
    pub fn is_working(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// Whether a request of the client is in flight, not only one of the gateway's own.
    #[must_use]
    pub fn works_for_client(&self) -> bool {
        self.in_flight.values().any(|request| request.asker == Asker::Client)
    }

    /// Whether a client listens to the GET stream.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.get.is_attached()
    }

    /// Whether nothing more comes from the server.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// The server is gone: fails every request in flight, and accepts no more.
    pub fn end(&mut self, message: &str) {
        self.gone = true;
        self.questions.clear();
        self.held.clear();
        self.fail_all(message);
        self.get.end();
    }

    /// Fails every request in flight; each may have run.
    pub fn fail_all(&mut self, message: &str) {
        let is_open = self.absent != Some(Absent::NotYet);
        for (id, request) in self.in_flight.drain() {
            if is_open && request.asker == Asker::Client {
                self.errors.note_own(code::SERVER_LOST);
            }
            let error = jsonrpc::error(Some(&id), code::SERVER_LOST, message);
            request.stream.put_instead(error, Reached::Perhaps);
        }
    }
}

#[cfg(test)]
mod tests;
