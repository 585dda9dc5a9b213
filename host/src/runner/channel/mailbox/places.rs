//! The streams for what belongs to no request that the server would name: its questions, and notices
//! about calls.
//!
//! A client with a session may be asked on any stream of its. One without (the session is the edge's
//! then) is asked in the answer to a request, and only some requests are answered so; its GET stream is
//! read by the edge, for what is told outside of requests. A question that comes while no such request is
//! read waits: for the next one, or for the client that comes back to one.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::protocol::era::methods::Method;
use crate::protocol::methods;
use crate::runner::channel::in_flight::{Asker, InFlight};
use crate::streams::{Part, Stream};

use super::{Delivery, Mailbox};

/// Notices that wait are kept like progress, under this in place of a token, which is none.
const NOTICES: &str = "notices";

/// Whether the answer to a request may ask its client for input. A task is asked for by the request
/// that waits for its result.
pub fn may_ask(method: &str) -> bool {
    method == methods::TASK_RESULT || Method::of(method).is_some_and(Method::may_ask)
}

impl Mailbox {
    /// Where a question goes that came on no stream of a request.
    pub fn place_question(&mut self, question: Bytes) -> Delivery {
        if let Some(stream) = self.stream_for_questions() {
            return Delivery::To(stream, question, Part::Question);
        }
        if self.held.keep(question.clone(), self.bounds.bytes) {
            return Delivery::Done;
        }
        self.unread(&question).map_or(Delivery::Done, Delivery::Reply)
    }

    /// Where a question goes that came on this stream.
    pub fn place_question_of(&mut self, stream: &Arc<Stream>, question: Bytes) -> Delivery {
        let is_of_request = !stream.is_without_end() && !self.passes_by(stream);
        let is_heard = stream.is_without_end() && !self.asks_in_calls && self.is_heard();
        match is_of_request || is_heard {
            true => Delivery::To(Arc::clone(stream), question, Part::Question),
            false => self.place_question(question),
        }
    }

    /// The stream for a notice that came on this one. `None` if it is about a call that has not been
    /// entered yet.
    #[must_use]
    pub fn place_notice_of(&self, stream: &Arc<Stream>, method: &str) -> Option<Arc<Stream>> {
        // The edge reads the GET stream for what concerns no call, and no client else does.
        let is_about_call = self.asks_in_calls && !methods::is_unrelated(method);
        if stream.is_without_end() && is_about_call {
            return Self::newest(self.of_client());
        }
        Some(if self.passes_by(stream) { self.related() } else { Arc::clone(stream) })
    }

    /// Keeps a notice about a call that may not have been entered yet.
    pub fn hold_notice(&mut self, notice: Bytes) {
        self.early_progress.hold(NOTICES.to_owned(), notice);
    }

    /// Puts the notices that were kept since a request began onto its stream.
    pub(super) fn put_early(&mut self, stream: &Stream, asker: Asker, began: Instant) {
        if !self.asks_in_calls || asker != Asker::Client {
            return;
        }
        for notice in self.early_progress.take(NOTICES, began) {
            stream.put(notice, Part::Notice);
        }
    }

    /// The stream of a request in flight of the client.
    #[must_use]
    pub fn stream_of(&self, id: &str) -> Option<Arc<Stream>> {
        let request = self.in_flight.get(id).filter(|request| request.asker == Asker::Client);
        let stream = request.map(|request| &request.stream).filter(|stream| !stream.has_ended())?;
        Some(Arc::clone(stream))
    }

    /// Puts the questions that wait onto the stream of a request which is read from now on: of one that
    /// has just `begun` those that may be about it, if another one may be meant by the rest.
    pub fn put_held(&mut self, stream: &Arc<Stream>, begun: Option<Instant>) {
        if self.held.is_empty() {
            return;
        }
        let may_ask = || self.of_client().filter(|request| request.may_ask);
        if !may_ask().any(|request| Arc::ptr_eq(&request.stream, stream)) {
            return;
        }
        let is_only = may_ask().all(|request| Arc::ptr_eq(&request.stream, stream));
        for question in self.held.take(begun.filter(|_| !is_only)) {
            for unread in stream.put(question, Part::Question) {
                // There was room for it before.
                let _ = self.held.keep(unread, usize::MAX);
            }
        }
    }

    /// Forgets questions that wait and were taken back.
    pub fn drop_held(&mut self) {
        let Self { held, questions, .. } = self;
        if !held.is_empty() {
            held.retain(|id| questions.has(id));
        }
    }

    /// Whether what is no answer has to go elsewhere than onto this stream: it has ended, or is the
    /// gateway's, which reads only answers.
    fn passes_by(&self, stream: &Arc<Stream>) -> bool {
        let is_this = |request: &InFlight| Arc::ptr_eq(&request.stream, stream);
        let mut own = self.in_flight.values().filter(|request| request.asker == Asker::Gateway);
        stream.has_ended() || own.any(is_this)
    }

    /// The newest of these requests, of those that are read if any are.
    fn newest<'a>(requests: impl Iterator<Item = &'a InFlight>) -> Option<Arc<Stream>> {
        let key = |request: &&InFlight| (request.stream.is_attached(), request.order);
        let newest = requests.filter(|request| request.stream.can_be_read()).max_by_key(key);
        newest.map(|request| Arc::clone(&request.stream))
    }

    fn of_client(&self) -> impl Iterator<Item = &InFlight> {
        self.in_flight.values().filter(|request| request.asker == Asker::Client)
    }

    /// The stream of the client's newest request, of those that are read, else of those that can be;
    /// else the GET stream.
    pub(super) fn related(&self) -> Arc<Stream> {
        Self::newest(self.of_client()).unwrap_or_else(|| Arc::clone(&self.get))
    }

    /// The same for a question. `None` if it has to wait.
    fn stream_for_questions(&self) -> Option<Arc<Stream>> {
        if !self.asks_in_calls {
            return Some(self.related());
        }
        let read = || self.of_client().filter(|request| request.stream.is_attached());
        if !self.of_client().any(|request| request.may_ask) {
            // No other request could have it asked, so the edge refuses it.
            return Self::newest(read());
        }
        // The oldest: calls that are soon answered come and go while one waits for its question.
        let may_ask = read().filter(|request| request.may_ask && request.stream.can_be_read());
        may_ask.min_by_key(|request| request.order).map(|request| Arc::clone(&request.stream))
    }
}
