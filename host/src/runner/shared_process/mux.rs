//! Carries messages between the sessions and the process that they share, as the [`IdMap`]
//! decides.
//!
//! No session blocks the others. Its messages wait in its own queue and take turns with those of
//! other sessions at the process's queue (both are first come, first served). Messages that a
//! client does not read are kept within the bounds of its streams; beyond them notices are dropped
//! (`Pipe::hand`), so the reader of the process never waits for a client.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard};

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::sync::watch;

use crate::model::{ServerName, SessionId};
use crate::protocol::jsonrpc::{self, Envelope, Kind, code};
use crate::protocol::{methods, splice};
use crate::runner::channel::list_changes::OwnReadings;
use crate::runner::channel::long_line;
use crate::runner::channel::pipe::Pipe;
use crate::runner::channel::queue::ToServer;
use crate::runner::channel::sink::{MessageSink, id_of_request};
use crate::runner::channel::spoilt;
use crate::sync::{Locked, Signal};

use super::id_map::{ClientVerdict, IdMap, ServerVerdict, number_of};
use super::lists::CommonLists;
use super::subscriptions::SeatId;

/// Longest log message of a server in the gateway's log, in characters.
const LOG_TEXT: usize = 4 * 1024;

/// The state shared by the reader of a process and the seats at it.
pub struct Mux {
    pub server: ServerName,
    line: usize,
    inbox: ToServer,
    state: Locked<MuxState>,
    pub lost: watch::Sender<Option<Arc<str>>>,
    /// Raised once no more sessions come: its server has other settings by now.
    pub retired: Signal,
    /// The number of seats taken.
    pub seated: watch::Sender<usize>,
    pub lists: CommonLists,
    /// When the gateway reads the lists, in whatever session.
    pub readings: Arc<OwnReadings>,
    answers: std::sync::atomic::AtomicU32,
    /// How often its process has ended by itself before this start.
    pub restarts: std::sync::atomic::AtomicU64,
}

#[derive(Default)]
struct MuxState {
    id_map: IdMap,
    pipes: HashMap<SeatId, Arc<Pipe>>,
    /// No seat can be taken any more.
    is_closed: bool,
    /// The error for the call that the line being skipped answers: its id may be at the line's
    /// end.
    overflowing: Option<String>,
}

impl Mux {
    #[must_use]
    pub fn new(server: &ServerName, line: usize, inbox: ToServer) -> Arc<Self> {
        Arc::new(Self {
            server: server.clone(),
            line,
            inbox,
            state: Locked::default(),
            lost: watch::Sender::new(None),
            retired: Signal::default(),
            seated: watch::Sender::new(0),
            lists: CommonLists::default(),
            readings: Arc::default(),
            answers: 0.into(),
            restarts: 0.into(),
        })
    }

    /// Takes a seat. `None` if the process has ended or is being closed.
    pub fn enter(&self, session: SessionId, pipe: &Arc<Pipe>) -> Option<SeatId> {
        let mut state = self.state();
        if state.is_closed {
            return None;
        }
        let seat = state.id_map.enter(session);
        state.pipes.insert(seat, Arc::clone(pipe));
        self.seated.send_replace(state.pipes.len());
        Some(seat)
    }

    /// Frees a seat: cancels the session's calls and ends its subscriptions.
    pub async fn leave(&self, seat: SeatId) {
        let told = {
            let mut state = self.state();
            state.pipes.remove(&seat);
            self.seated.send_replace(state.pipes.len());
            state.id_map.leave(seat)
        };
        for message in told {
            self.tell(message).await;
        }
    }

    /// Handles a session's message once there is room for it in the process's queue.
    pub async fn ask(&self, seat: SeatId, message: Bytes) {
        let room = self.inbox.reserve(message.len()).await;
        let Ok(envelope) = Envelope::parse(&message) else { return };
        let Some(room) = room else {
            // The process is gone: the request has certainly not run.
            let pipe = self.state().pipes.get(&seat).map(Arc::clone);
            if let (Some(pipe), Some(id)) = (pipe, envelope.id_text()) {
                pipe.note_unsent(id);
            }
            return;
        };
        let (asked, pipe) = {
            let mut state = self.state();
            let Some(pipe) = state.pipes.get(&seat).map(Arc::clone) else { return };
            match state.id_map.ask(seat, &message, &envelope) {
                // Sent under the lock: messages must reach the process in the order in which the
                // map has numbered them.
                ClientVerdict::Send(message) => return room.send(message, None),
                ClientVerdict::Answer(answer) => (answer, pipe),
                ClientVerdict::Nothing => return,
            }
        };
        if let Ok(envelope) = Envelope::parse(&asked) {
            pipe.hand(asked.clone(), &envelope);
        }
    }

    /// Sends a message of the gateway itself to the process.
    pub async fn tell(&self, message: Bytes) {
        if Envelope::parse(&message).is_ok_and(|envelope| envelope.kind() == Kind::Notification) {
            self.state().id_map.sends_notice();
        }
        if let Some(room) = self.inbox.reserve(message.len()).await {
            room.send(message, None);
        }
    }

    /// Closes the process to new seats if none is taken; returns whether it is closed.
    pub fn close_if_empty(&self) -> bool {
        let mut state = self.state();
        state.is_closed |= state.pipes.is_empty();
        state.is_closed
    }

    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state().is_closed
    }

    fn hear(&self, message: &Bytes, envelope: Envelope<'_>) {
        // The seats decide when to read again after an echo.
        if methods::is_list_changed(envelope.method()) && self.readings.may_echo().is_none() {
            self.lists.note_change();
        }
        let mut state = self.state();
        match state.id_map.hear(message, &envelope) {
            ServerVerdict::Answer(seat, id, message) => {
                self.answers.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let Some(pipe) = state.pipes.get(&seat).map(Arc::clone) else { return };
                drop(state);
                pipe.hand(message, &Envelope { id: Some(&id), ..envelope });
            }
            ServerVerdict::Notice(seats, message) => {
                let pipes: Vec<Arc<Pipe>> =
                    seats.iter().filter_map(|seat| state.pipes.get(seat).cloned()).collect();
                drop(state);
                if let Ok(envelope) = Envelope::parse(&message) {
                    pipes.iter().for_each(|pipe| pipe.hand(message.clone(), &envelope));
                }
            }
            // Never waits: a server that does not read must not block the reader of its stdout.
            ServerVerdict::Reply(reply) => self.inbox.try_send(reply),
            ServerVerdict::Log => {
                let text = envelope.params.map_or("", |params| params.get());
                let text: String = text.chars().take(LOG_TEXT).collect();
                tracing::debug!(target: "mooring::server", server = %self.server, "log message: {text}");
            }
            ServerVerdict::Nothing => {
                tracing::debug!(
                    server = %self.server, method = envelope.method(),
                    "dropped a message of a shared process that belongs to no session"
                );
            }
        }
    }

    /// Removes a call that the gateway answers itself; returns its session's pipe and the client's
    /// id.
    fn forget(&self, number: Option<u64>) -> Option<(Arc<Pipe>, Box<RawValue>)> {
        let mut state = self.state();
        let (seat, id) = state.id_map.forget_call(number?)?;
        state.pipes.get(&seat).map(|pipe| (Arc::clone(pipe), id))
    }

    /// Answers the call with an error; returns whether there was one.
    fn fail_one(&self, number: Option<u64>, text: &str) -> bool {
        let call = self.forget(number);
        if let Some((pipe, id)) = &call {
            pipe.answer_for_server(id.get(), code::SERVER_LOST, text);
        }
        call.is_some()
    }

    fn state(&self) -> MutexGuard<'_, MuxState> {
        self.state.lock()
    }

    fn pipes(&self) -> Vec<Arc<Pipe>> {
        self.state().pipes.values().cloned().collect()
    }
}

impl MessageSink for Mux {
    fn server(&self) -> &ServerName {
        &self.server
    }

    fn line(&self) -> usize {
        self.line
    }

    async fn take(&self, message: Bytes) {
        if let Ok(envelope) = Envelope::parse(&message) {
            return self.hear(&message, envelope);
        }
        let Ok(Some(batch)) = jsonrpc::batch(&message) else {
            for object in spoilt::objects_in(&message).unwrap_or_default() {
                if let Ok(envelope) = Envelope::parse(&object) {
                    self.hear(&object, envelope);
                }
            }
            match spoilt::answered(&message).and_then(|id| self.forget(number_of(&id))) {
                Some((pipe, id)) => pipe.answers_nonsense(id.get(), &message),
                None => {
                    tracing::debug!(server = %self.server, bytes = message.len(), "dropped a line that is not a JSON-RPC message");
                }
            }
            return;
        };
        for part in batch {
            let part = splice::span(&message, part).map(|span| message.slice(span));
            if let Some(part) = part
                && let Ok(envelope) = Envelope::parse(&part)
            {
                self.hear(&part, envelope);
            }
        }
    }

    /// Fails only the call that the line answers, if its id is at the beginning.
    fn overflows(&self, head: &[u8], text: &str) {
        if !self.fail_one(long_line::number_at_the_beginning(head), text) {
            self.state().overflowing = Some(text.to_owned());
        }
    }

    fn overflowed(&self, tail: &[u8]) {
        let Some(text) = self.state().overflowing.take() else { return };
        if !self.fail_one(long_line::number_at_the_end(tail), &text) {
            self.state().id_map.forget_calls();
            self.pipes().iter().for_each(|pipe| pipe.fail_all(&text));
        }
    }

    fn unsent(&self, lines: &[u8]) {
        for line in lines.split(|byte| *byte == b'\n') {
            let number = id_of_request(line).and_then(|id| id.parse().ok());
            if let Some((pipe, id)) = self.forget(number) {
                pipe.note_unsent(id.get());
            }
        }
    }

    fn answers(&self) -> u32 {
        self.answers.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn end(&self) {
        self.state().is_closed = true;
        self.pipes().iter().for_each(|pipe| pipe.end());
    }

    fn mark_lost(&self, how: &str) {
        let why: Arc<str> = format!("server {} has ended ({how})", self.server).into();
        self.lost.send_replace(Some(why));
        self.pipes().iter().for_each(|pipe| pipe.mark_lost(how));
    }
}
