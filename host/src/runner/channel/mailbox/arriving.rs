//! What a server sends, and where in the mailbox it goes.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::protocol::answer::{self, AnswerForm, is_error_object};
use crate::protocol::jsonrpc::{self, Envelope, Kind, code};
use crate::protocol::methods;
use crate::protocol::splice::{self, RequestTarget};
use crate::runner::channel::in_flight::InFlight;
use crate::runner::channel::message_ids::key;
use crate::runner::channel::own_answers::{self, Absent};
use crate::runner::channel::spoilt;
use crate::streams::{Part, Stream};

use super::{Delivery, GET, Mailbox};

impl Mailbox {
    /// Takes one message of a server that has one pipe; `about` is the id of the request that it is
    /// about, where that is known.
    pub fn deliver(
        &mut self,
        about: Option<&str>,
        line: Bytes,
        envelope: &Envelope<'_>,
    ) -> Delivery {
        match envelope.kind() {
            Kind::Response => self
                .answer(line, envelope)
                .or_else(|| self.error_of_the_only(envelope))
                .map_or(Delivery::Done, |(stream, line)| Delivery::To(stream, line, Part::Answer)),
            Kind::Request => match self.answer_at_once(envelope) {
                Some(answer) => Delivery::Reply(answer),
                None => {
                    self.questions.ask(envelope);
                    match about.and_then(|id| self.stream_of(id)) {
                        Some(stream) => Delivery::To(stream, line, Part::Question),
                        None => self.place_question(line),
                    }
                }
            },
            Kind::Notification if methods::is_unrelated(envelope.method()) => {
                self.task_tokens.heard(envelope);
                self.keep(line)
            }
            Kind::Notification if envelope.method() == methods::PROGRESS => {
                match self.progress(line, envelope) {
                    Ok((stream, line)) => Delivery::To(stream, line, Part::Notice),
                    // Its request has ended, or nobody gave the token.
                    Err(_) => Delivery::Done,
                }
            }
            Kind::Notification if self.is_of_restoration(envelope.method()) => Delivery::Done,
            Kind::Notification => {
                let line = self.with_question(line, envelope);
                let own = about.and_then(|id| self.stream_of(id));
                match own.unwrap_or_else(|| self.related()) {
                    stream if stream.number == GET => self.keep(line),
                    stream => Delivery::To(stream, line, Part::Notice),
                }
            }
        }
    }

    /// The gateway's answer to a request of the server that no client needs to see, or can.
    #[must_use]
    pub fn answer_at_once(&mut self, question: &Envelope<'_>) -> Option<Bytes> {
        let is_ping = question.method() == methods::PING;
        let absent = match self.absent {
            None if !is_ping => return None,
            None => Absent::NoClient,
            // It is about the new instance and not about a call: the client answers it.
            Some(Absent::Restoring) if question.method() == methods::LIST_ROOTS => return None,
            Some(absent) => absent,
        };
        self.has_asked |= absent == Absent::Restoring && !is_ping;
        Some(own_answers::answer_to(question, absent))
    }

    /// The stream of the request that this answers, and the answer under the request's own id. An
    /// error without an id is about a message that the server could not parse: with a single request
    /// in flight that is the one, unless a notification may be meant. A result without one can be
    /// believed to be nobody's, but its request gets no other answer.
    pub fn answer(&mut self, line: Bytes, envelope: &Envelope<'_>) -> Option<(Arc<Stream>, Bytes)> {
        let Some(id) = envelope.id.filter(|id| id.get() != "null") else {
            let says_something = envelope.result.is_some_and(|result| !is_empty(result));
            if !says_something && self.notices.take_one() {
                return None;
            }
            let Some(error) = envelope.error else { return self.nonsense(&spoilt::neither(&line)) };
            let (id, request) = self.in_flight.take_only()?;
            self.note_answer(&request, envelope);
            return Some((request.stream, error_under(&id, error)));
        };
        let (own, request) = self.in_flight.answered(id.get())?;
        self.note_answer(&request, envelope);
        self.notices.answered(request.order);
        self.task_tokens.answered(&request, envelope.result);
        self.opened();
        let form = AnswerForm::of(envelope);
        if form == AnswerForm::Usual {
            return Some((request.stream, under_own(line, id, own)));
        }
        let id = own.as_deref().unwrap_or(id.get());
        let answer = match form {
            AnswerForm::WithNull => answer::rewritten(id, envelope),
            _ => None,
        };
        Some((request.stream, answer.unwrap_or_else(|| no_answer(id, &line))))
    }

    fn note_answer(&self, request: &InFlight, answer: &Envelope<'_>) {
        if self.counts(request) {
            self.errors.note_answer(answer);
        }
    }

    /// Fails the only request in flight for an answer that says of none that it is meant.
    pub fn nonsense(&mut self, text: &str) -> Option<(Arc<Stream>, Bytes)> {
        let (id, request) = self.in_flight.take_only()?;
        self.note_own(&request, code::INTERNAL);
        Some((request.stream, jsonrpc::error(Some(&id), code::INTERNAL, text)))
    }

    /// The same for what came on the stream of a single request.
    pub fn nonsense_on(
        &mut self,
        stream: &Arc<Stream>,
        text: &str,
    ) -> Option<(Arc<Stream>, Bytes)> {
        let mut of_stream = self.in_flight.ids_at(stream).into_iter();
        let id = of_stream.next().filter(|_| of_stream.next().is_none())?;
        let request = self.in_flight.remove(&id)?;
        self.note_own(&request, code::INTERNAL);
        Some((request.stream, jsonrpc::error(Some(&id), code::INTERNAL, text)))
    }

    /// Takes an error under an id that no request had, where a single request is in flight: some
    /// servers write one of their own when they could not read the message.
    fn error_of_the_only(&mut self, envelope: &Envelope<'_>) -> Option<(Arc<Stream>, Bytes)> {
        let (id, error) = (envelope.id?.get(), envelope.error?);
        if id == "null" || self.in_flight.may_be_late(id) {
            return None;
        }
        let (own, request) = self.in_flight.take_only()?;
        self.note_answer(&request, envelope);
        Some((request.stream, error_under(&own, error)))
    }

    /// Whether an answer under this id may be to a request that was given up.
    #[must_use]
    pub fn may_be_late(&self, id: &str) -> bool {
        self.in_flight.may_be_late(id)
    }

    /// Takes an error without an id that came on the stream of these requests alone.
    pub fn answer_on(
        &mut self,
        stream: &Arc<Stream>,
        answer: &Envelope<'_>,
    ) -> Option<(Arc<Stream>, Bytes)> {
        let error = answer.error?;
        let mut of_stream = self.in_flight.ids_at(stream).into_iter();
        let id = of_stream.next().filter(|_| of_stream.next().is_none())?;
        let request = self.in_flight.remove(&id)?;
        self.note_answer(&request, answer);
        Some((request.stream, error_under(&id, error)))
    }

    /// The stream that progress goes to, and the notification with the token that the client gave.
    /// The message comes back if the token is of no request in flight, nor of a task.
    pub fn progress(
        &mut self,
        line: Bytes,
        progress: &Envelope<'_>,
    ) -> Result<(Arc<Stream>, Bytes), Bytes> {
        let Some(token) = RequestTarget::of(progress.params).and_then(|it| it.progress_token)
        else {
            return Err(line);
        };
        if let Some((own, stream)) = self.in_flight.progressed(token.get()) {
            return Ok((stream, under_own(line, token, own)));
        }
        match self.task_tokens.find(token.get()) {
            Some(own) => Ok((self.related(), under_own(line, token, own))),
            None => Err(line),
        }
    }

    /// Keeps progress whose request may not have been entered yet: over HTTP, one that is answered
    /// soon never is.
    pub fn hold_progress(&mut self, line: Bytes, progress: &Envelope<'_>) {
        if let Some(token) = RequestTarget::of(progress.params).and_then(|it| it.progress_token) {
            self.early_progress.hold(key(token.get()), line);
        }
    }

    /// A notification as the client is to see it: one that cancels a question names it by the id
    /// under which it was asked.
    pub fn with_question(&mut self, line: Bytes, notification: &Envelope<'_>) -> Bytes {
        self.task_tokens.heard(notification);
        let own = self.questions.take_back(notification);
        self.drop_held();
        let Some(own) = own else { return line };
        match RequestTarget::of(notification.params).and_then(|params| params.request_id) {
            Some(id) => under_own(line, id, Some(own)),
            None => line,
        }
    }

    /// Notes that a notification is sent to the server, which some answer with an error.
    pub fn sends_notice(&mut self) {
        self.notices.sent(self.next_stream);
    }

    /// Puts a notice on the GET stream without waiting: a listener that does not read
    /// must not stop the session's other streams.
    fn keep(&self, line: Bytes) -> Delivery {
        self.get.put(line, Part::Notice);
        Delivery::Done
    }
}

/// The message with the request's own id or token in place of the one that the server has written.
fn under_own(line: Bytes, written: &RawValue, own: Option<String>) -> Bytes {
    let span = own.as_ref().and_then(|_| {
        // A shared process's line was written anew since it was read.
        let again = || splice::span(&line, Envelope::parse(&line).ok()?.id?);
        splice::span(&line, written).or_else(again)
    });
    match (own, span) {
        (Some(own), Some(span)) => splice::replace(&line, span, own.as_bytes()),
        _ => line,
    }
}

/// An answer in the server's place, under the request's own id.
pub(super) fn under(own: &str, answer: Bytes) -> Bytes {
    let renamed = Envelope::parse(&answer).ok().and_then(|envelope| {
        let span = splice::span(&answer, envelope.id?)?;
        Some(splice::replace(&answer, span, own.as_bytes()))
    });
    renamed.unwrap_or(answer)
}

/// Whether a result says nothing, as that of a notification which a server answers nevertheless.
fn is_empty(result: &RawValue) -> bool {
    let text = result.get();
    text == "null" || text.len() < 8 && text.bytes().all(|byte| b"{}[] \t\r\n".contains(&byte))
}

fn error_under(id: &str, error: &RawValue) -> Bytes {
    let text = error.get();
    if !is_error_object(error) {
        return no_answer(id, text.as_bytes());
    }
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{text}}}").into()
}

/// The gateway's error in place of what no client takes for an answer.
fn no_answer(id: &str, came: &[u8]) -> Bytes {
    jsonrpc::error(Some(id), code::INTERNAL, &spoilt::neither(came))
}
