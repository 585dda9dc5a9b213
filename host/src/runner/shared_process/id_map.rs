//! Maps the request ids of the sessions that share a process to numbers, and decides which
//! messages reach the process and which sessions receive its messages.
//!
//! The gateway has initialised the process as a client without capabilities; to the process all
//! sessions are one:
//!
//! | a client sends | the process receives |
//! |---|---|
//! | a request | the same with a unique number as its id, and as its progress token if it has one |
//! | `notifications/cancelled` | the same with that number; nothing if the call is unknown |
//! | `resources/subscribe`, `unsubscribe` | the first for a resource, and the last of all spellings |
//! | `logging/setLevel` | nothing: the level would apply to all sessions |
//! | `tasks/…` | requests about a task of this session |
//! | any other notification | nothing: it would speak for all sessions |
//! | a response | nothing: requests of the process never reach a client |
//! | what some readers of JSON read differently | nothing: they might see another session's number |
//!
//! | the process sends | its receivers |
//! |---|---|
//! | a response, progress | the session that sent the request, with its own id or token |
//! | `list_changed` | all sessions |
//! | `resources/updated` | the sessions subscribed to the resource or to one above it |
//! | `tasks/status` | the session that created the task |
//! | a log message | none, but the gateway's log at debug level: it names no session |
//! | a request | none: the runner answers `ping` and refuses the others, as no client is meant |
//! | any other notification | none: it names no session |

use std::collections::HashMap;
use std::ops::Range;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::SessionId;
use crate::protocol::jsonrpc::{self, Envelope, Kind, Malformed, code};
use crate::protocol::methods;
use crate::protocol::objects::object_only;
use crate::protocol::splice::{self, RequestTarget};
use crate::protocol::strict::StrictParams;
use crate::runner::channel::message_ids::{key, other_forms};
use crate::runner::channel::notices::SentNotices;

use super::subscriptions::{self, SeatId, Subscriptions};
use super::tasks::Tasks;

const TOO_MANY: &str = "a session may subscribe to 1000 resources of a server that sessions share, whose URIs have 64 KiB together; unsubscribe from some first";
/// What the methods of all notifications begin with.
const NOTICES: &str = "notifications/";

#[derive(Default)]
pub struct IdMap {
    seats: HashMap<SeatId, SessionId>,
    next_seat: SeatId,
    /// The number of the latest call.
    last: u64,
    calls: HashMap<u64, PendingCall>,
    /// The numbers of calls, by seat and the id that the client gave.
    numbers: HashMap<(SeatId, String), u64>,
    /// Those that the process has confirmed.
    subscriptions: Subscriptions,
    tasks: Tasks,
    notices: SentNotices,
}

struct PendingCall {
    seat: SeatId,
    id: Box<RawValue>,
    token: Option<Box<RawValue>>,
    purpose: Purpose,
}

impl PendingCall {
    /// The resource that the call subscribes to.
    fn subscribes(&self) -> Option<&str> {
        match &self.purpose {
            Purpose::Subscribe(uri) => Some(uri),
            Purpose::Any | Purpose::Task => None,
        }
    }
}

enum Purpose {
    Any,
    Subscribe(String),
    Task,
}

/// What to do with a client's message.
#[derive(Debug)]
pub enum ClientVerdict {
    /// Send this to the process.
    Send(Bytes),
    /// Answer the client with this.
    Answer(Bytes),
    Nothing,
}

/// What to do with a message of the process.
#[derive(Debug)]
pub enum ServerVerdict {
    /// Answer this seat's request, with the client's id.
    Answer(SeatId, Box<RawValue>, Bytes),
    Notice(Vec<SeatId>, Bytes),
    /// Answer the process with this.
    Reply(Bytes),
    /// Write it to the gateway's own log.
    Log,
    Nothing,
}

impl IdMap {
    pub fn enter(&mut self, session: SessionId) -> SeatId {
        self.next_seat += 1;
        self.seats.insert(self.next_seat, session);
        self.next_seat
    }

    /// Removes a session. Returns the messages for the process: cancellations of the session's
    /// calls, and the end of subscriptions that no other session has.
    pub fn leave(&mut self, seat: SeatId) -> Vec<Bytes> {
        let session = self.seats.remove(&seat);
        self.numbers.retain(|(of, _), _| *of != seat);
        let mut left = self.subscriptions.leave(seat);
        let mut told = Vec::new();
        for (number, call) in self.calls.extract_if(|_, call| call.seat == seat) {
            told.push(jsonrpc::cancelled(&number.to_string(), "the session has ended"));
            if let Purpose::Subscribe(uri) = call.purpose
                && !self.subscriptions.may_have(&uri)
            {
                left.push(uri);
            }
        }
        if let Some(session) = session {
            let seats = &self.seats;
            self.tasks.leave(session, |of| seats.values().any(|here| *here == of));
        }
        left.retain(|uri| !self.is_asked_for(uri));
        for uri in left {
            let params = format!("{{\"uri\":{}}}", splice::quoted(&uri));
            let number = self.number();
            told.push(jsonrpc::request(&number.to_string(), methods::UNSUBSCRIBE, &params));
        }
        told
    }

    /// Removes a call that the gateway answers itself; returns its seat and the client's id.
    pub fn forget_call(&mut self, number: u64) -> Option<(SeatId, Box<RawValue>)> {
        let call = self.calls.remove(&number)?;
        self.numbers.remove(&(call.seat, key(call.id.get())));
        Some((call.seat, call.id))
    }

    /// Removes all calls: the gateway has answered them itself.
    pub fn forget_calls(&mut self) {
        self.calls.clear();
        self.numbers.clear();
    }

    pub fn ask(&mut self, seat: SeatId, message: &Bytes, envelope: &Envelope<'_>) -> ClientVerdict {
        match envelope.kind() {
            Kind::Request if !envelope.has_one_meaning() => {
                let error = Malformed::ambiguous();
                let (code, text) = (error.code(), error.to_string());
                ClientVerdict::Answer(jsonrpc::error(envelope.id_text(), code, &text))
            }
            _ if !envelope.has_one_meaning() => ClientVerdict::Nothing,
            Kind::Request => self.request(seat, message, envelope),
            Kind::Notification if envelope.method() == methods::CANCELLED => self
                .cancelled(seat, message, envelope)
                .map_or(ClientVerdict::Nothing, ClientVerdict::Send),
            Kind::Notification | Kind::Response => ClientVerdict::Nothing,
        }
    }

    fn request(&mut self, seat: SeatId, message: &Bytes, envelope: &Envelope<'_>) -> ClientVerdict {
        let Some(id) = envelope.id else { return ClientVerdict::Nothing };
        let refuse =
            |code, text: &str| ClientVerdict::Answer(jsonrpc::error(Some(id.get()), code, text));
        let done = || ClientVerdict::Answer(jsonrpc::result(id.get(), b"{}"));
        let params = match StrictParams::of(envelope.params) {
            Ok(params) => params,
            Err(unclear) => return refuse(unclear.code(), &unclear.to_string()),
        };
        let (target, token) = (params.target, params.progress_token);
        let method = envelope.method();
        let asks_for_task = target.task.is_some_and(|task| task.get() != "null");
        let mut purpose = if asks_for_task { Purpose::Task } else { Purpose::Any };
        match method {
            methods::SET_LEVEL => return done(),
            methods::TASK_LIST => {
                let text = "this server is shared by sessions, which do not see each other's tasks";
                return refuse(code::METHOD_NOT_FOUND, text);
            }
            _ if method.starts_with("tasks/") && !self.is_own_task(seat, target.task_id) => {
                return refuse(code::INVALID_PARAMS, "no such task");
            }
            methods::SUBSCRIBE | methods::UNSUBSCRIBE => {
                let Some(uri) = target.uri.and_then(splice::string) else {
                    return refuse(code::INVALID_PARAMS, "params.uri is missing");
                };
                if method == methods::UNSUBSCRIBE {
                    if !self.unsubscribe(seat, &uri) {
                        return done();
                    }
                } else if self.subscriptions.has_seat(&uri, seat) {
                    return done();
                } else if !self.has_room(seat, &uri) {
                    return refuse(code::INVALID_REQUEST, TOO_MANY);
                } else if self.subscriptions.has(&uri) {
                    // Answered here once the process has confirmed a subscription; until then
                    // the process answers each request.
                    self.subscriptions.add(seat, uri);
                    return done();
                } else {
                    purpose = Purpose::Subscribe(uri);
                }
            }
            _ if is_notice(method) => {
                let text = "a notification has no id";
                return refuse(code::INVALID_REQUEST, text);
            }
            _ => {}
        }
        let number = self.number();
        let by = number.to_string();
        let spans = [Some(id), token].into_iter().flatten().map(|raw| splice::span(message, raw));
        let Some(edits) = spans
            .map(|span| span.map(|span| (span, by.clone())))
            .collect::<Option<Vec<(Range<usize>, String)>>>()
        else {
            return refuse(code::INTERNAL, "the id or progress token cannot be replaced");
        };
        let call =
            PendingCall { seat, id: id.to_owned(), token: token.map(ToOwned::to_owned), purpose };
        // A client may use an id again once it has an answer. The old call is still here if the
        // gateway gave that answer for a silent server.
        if let Some(old) = self.numbers.insert((seat, key(id.get())), number) {
            self.calls.remove(&old);
        }
        self.calls.insert(number, call);
        ClientVerdict::Send(splice::edit(message, edits))
    }

    /// Whether a seat may subscribe to one more resource. What is asked for counts too.
    fn has_room(&self, seat: SeatId, uri: &str) -> bool {
        let asked = self.calls.values().filter(|call| call.seat == seat);
        let held = asked
            .filter_map(PendingCall::subscribes)
            .fold(self.subscriptions.held(seat), subscriptions::Held::and);
        held.and(uri).is_allowed()
    }

    /// Ends a seat's subscription, even one that is not confirmed. Returns whether the process is to
    /// end it: never one of another seat, nor in another spelling.
    fn unsubscribe(&mut self, seat: SeatId, uri: &str) -> bool {
        let mut was_asked_for = false;
        for call in self.calls.values_mut().filter(|call| call.seat == seat) {
            if call.subscribes() == Some(uri) {
                call.purpose = Purpose::Any;
                was_asked_for = true;
            }
        }
        let is_last = self.subscriptions.remove(seat, uri)
            || (was_asked_for && !self.subscriptions.may_have(uri));
        is_last && !self.is_asked_for(uri)
    }

    /// Whether a call subscribes to what the process might take for this resource.
    fn is_asked_for(&self, uri: &str) -> bool {
        let mut asked = self.calls.values().filter_map(PendingCall::subscribes);
        asked.any(|of| subscriptions::may_be_same(of, uri))
    }

    fn cancelled(
        &mut self,
        seat: SeatId,
        message: &Bytes,
        envelope: &Envelope<'_>,
    ) -> Option<Bytes> {
        let raw = StrictParams::of(envelope.params).ok()?.target.request_id?;
        let number = self.numbers.remove(&(seat, key(raw.get())))?;
        self.calls.remove(&number);
        let span = splice::span(message, raw)?;
        self.sends_notice();
        Some(splice::replace(message, span, number.to_string().as_bytes()))
    }

    fn is_own_task(&self, seat: SeatId, task: Option<&RawValue>) -> bool {
        let id = task.and_then(splice::string);
        let owner = id.and_then(|id| self.tasks.owner(&id));
        owner.is_some() && owner == self.seats.get(&seat).copied()
    }

    /// Notes that a notification is sent to the process, which some answer with an error.
    pub fn sends_notice(&mut self) {
        self.notices.sent(self.last + 1);
    }

    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    pub fn hear(&mut self, message: &Bytes, envelope: &Envelope<'_>) -> ServerVerdict {
        let method = envelope.method();
        match envelope.kind() {
            Kind::Response => self.answer(message, envelope).unwrap_or(ServerVerdict::Nothing),
            Kind::Request => {
                let id = envelope.id_text().unwrap_or("null");
                ServerVerdict::Reply(match method {
                    methods::PING => jsonrpc::result(id, b"{}"),
                    _ => {
                        let text = "not among the client's capabilities";
                        jsonrpc::error(Some(id), code::METHOD_NOT_FOUND, text)
                    }
                })
            }
            Kind::Notification if method == methods::MESSAGE => ServerVerdict::Log,
            Kind::Notification if methods::is_list_changed(method) => {
                ServerVerdict::Notice(self.seats.keys().copied().collect(), message.clone())
            }
            Kind::Notification => self.notice(message, envelope).unwrap_or(ServerVerdict::Nothing),
        }
    }

    fn answer(&mut self, message: &Bytes, envelope: &Envelope<'_>) -> Option<ServerVerdict> {
        let Some(raw) = envelope.id.filter(|id| id.get() != "null") else {
            return self.only_answer(envelope);
        };
        let number = number_of(raw.get())?;
        let call = self.calls.remove(&number)?;
        self.notices.answered(number);
        self.numbers.remove(&(call.seat, key(call.id.get())));
        match (call.purpose, envelope.result) {
            (Purpose::Subscribe(uri), Some(_)) => {
                self.subscriptions.add(call.seat, uri);
            }
            (Purpose::Task, Some(result)) => self.keep_task(call.seat, result),
            _ => {}
        }
        let span = splice::span(message, raw)?;
        let restored = splice::replace(message, span, call.id.get().as_bytes());
        Some(ServerVerdict::Answer(call.seat, call.id, restored))
    }

    /// Assigns an error without an id, about a message that the process could not read, to the
    /// only call, if there is just one.
    fn only_answer(&mut self, envelope: &Envelope<'_>) -> Option<ServerVerdict> {
        if self.notices.take_one() {
            return None;
        }
        let error = envelope.error.filter(|_| self.calls.len() == 1)?;
        let number = *self.calls.keys().next()?;
        let (seat, id) = self.forget_call(number)?;
        let answer = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{error}}}");
        Some(ServerVerdict::Answer(seat, id, answer.into()))
    }

    fn keep_task(&mut self, seat: SeatId, result: &RawValue) {
        #[derive(Deserialize)]
        #[serde(remote = "Self")]
        struct Created {
            task: Task,
        }
        #[derive(Deserialize)]
        #[serde(remote = "Self")]
        struct Task {
            #[serde(rename = "taskId")]
            id: String,
        }
        object_only!(Created, Task);
        let Ok(created) = serde_json::from_str::<Created>(result.get()) else { return };
        let Some(session) = self.seats.get(&seat) else { return };
        self.tasks.keep(*session, created.task.id);
    }

    fn notice(&self, message: &Bytes, envelope: &Envelope<'_>) -> Option<ServerVerdict> {
        let params = RequestTarget::of(envelope.params)?;
        match envelope.method() {
            methods::PROGRESS => {
                let raw = params.progress_token?;
                let call = self.calls.get(&number_of(raw.get())?)?;
                let token = call.token.as_ref()?.get();
                let restored =
                    splice::replace(message, splice::span(message, raw)?, token.as_bytes());
                Some(ServerVerdict::Notice(vec![call.seat], restored))
            }
            methods::UPDATED => {
                let uri = splice::string(params.uri?)?;
                let seats = self.subscriptions.about(&uri);
                Some(ServerVerdict::Notice(seats, message.clone()))
            }
            methods::TASK_STATUS => {
                let owner = self.tasks.owner(&splice::string(params.task_id?)?)?;
                let seats = self.seats.iter().filter(|(_, session)| **session == owner);
                Some(ServerVerdict::Notice(seats.map(|(seat, _)| *seat).collect(), message.clone()))
            }
            _ => None,
        }
    }
}

/// The number of a call in an id or token of the process, which may have made a string of it.
#[must_use]
pub fn number_of(raw: &str) -> Option<u64> {
    raw.parse().ok().or_else(|| other_forms(raw).find_map(|form| form.parse().ok()))
}

/// Whether a request has the method of a notification. A lenient server would take it for one, and
/// its parameters name calls of any session.
fn is_notice(method: &str) -> bool {
    let method = method.trim_start();
    method.get(..NOTICES.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(NOTICES))
}

#[cfg(test)]
mod tests;
