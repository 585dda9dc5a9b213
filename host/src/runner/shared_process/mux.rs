//! What goes through a shared process: from each session to it, and from it to
//! whom the switchboard says.
//!
//! No session stops the others. What it sends waits in its own queue and takes
//! turns at the process's with the others' (both queues serve in order of
//! arrival); what it does not read is kept within the bounds of its streams, and
//! beyond them notices are dropped (`Pipe::hand`): the reader waits for nobody.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard};

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::sync::watch;

use crate::model::{ServerName, SessionId};
use crate::protocol::jsonrpc::{self, Envelope, code};
use crate::protocol::{methods, splice};
use crate::runner::channel::long_line;
use crate::runner::channel::pipe::Pipe;
use crate::runner::channel::queue::ToServer;
use crate::runner::channel::sink::{MessageSink, id_of_malformed, id_of_request};
use crate::sync::Locked;

use super::id_map::{ClientVerdict, IdMap, SeatId, ServerVerdict};
use super::lists::CommonLists;

/// A log message of a server is cut here.
const LOG_TEXT: usize = 4 * 1024;

/// What the reader of a process and the seats at it have in common.
pub struct Mux {
    pub server: ServerName,
    line: usize,
    inbox: ToServer,
    state: Locked<MuxState>,
    pub lost: watch::Sender<Option<Arc<str>>>,
    /// How many are at it.
    pub seated: watch::Sender<usize>,
    pub lists: CommonLists,
    answers: std::sync::atomic::AtomicU32,
}

#[derive(Default)]
struct MuxState {
    board: IdMap,
    pipes: HashMap<SeatId, Arc<Pipe>>,
    /// Nobody is let in any more.
    is_closed: bool,
    /// What to say to whoever waits for a line that is too long, once it is known
    /// who that is.
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
            seated: watch::Sender::new(0),
            lists: CommonLists::default(),
            answers: 0.into(),
        })
    }

    /// None if the process is gone or about to go.
    pub fn enter(&self, session: SessionId, pipe: &Arc<Pipe>) -> Option<SeatId> {
        let mut state = self.state();
        if state.is_closed {
            return None;
        }
        let place = state.board.enter(session);
        state.pipes.insert(place, Arc::clone(pipe));
        self.seated.send_replace(state.pipes.len());
        Some(place)
    }

    /// One session less: its calls are given up and its subscriptions ended.
    pub async fn leave(&self, place: SeatId) {
        let told = {
            let mut state = self.state();
            state.pipes.remove(&place);
            self.seated.send_replace(state.pipes.len());
            state.board.leave(place)
        };
        for message in told {
            self.tell(message).await;
        }
    }

    /// A session's message, once there is room for it.
    pub async fn ask(&self, place: SeatId, message: Bytes) {
        let room = self.inbox.reserve(message.len()).await;
        let Ok(envelope) = Envelope::parse(&message) else { return };
        let Some(room) = room else {
            // The process is gone: what comes now has surely not run.
            let pipe = self.state().pipes.get(&place).map(Arc::clone);
            if let (Some(pipe), Some(id)) = (pipe, envelope.id_text()) {
                pipe.note_unsent(id);
            }
            return;
        };
        let (asked, pipe) = {
            let mut state = self.state();
            let Some(pipe) = state.pipes.get(&place).map(Arc::clone) else { return };
            match state.board.ask(place, &message, &envelope) {
                // Under the lock: what the board has decided in this order must
                // reach the process in this order.
                ClientVerdict::Send(message) => return room.send(message),
                ClientVerdict::Answer(answer) => (answer, pipe),
                ClientVerdict::Nothing => return,
            }
        };
        if let Ok(envelope) = Envelope::parse(&asked) {
            pipe.hand(asked.clone(), &envelope);
        }
    }

    /// A message of the gateway's own.
    pub async fn tell(&self, message: Bytes) {
        if let Some(room) = self.inbox.reserve(message.len()).await {
            room.send(message);
        }
    }

    /// Lets nobody in any more, if nobody is there.
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
        if methods::is_list_changed(envelope.method()) {
            self.lists.note_change();
        }
        let mut state = self.state();
        match state.board.hear(message, &envelope) {
            ServerVerdict::Answer(place, id, message) => {
                self.answers.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let Some(pipe) = state.pipes.get(&place).map(Arc::clone) else { return };
                drop(state);
                pipe.hand(message, &Envelope { id: Some(&id), ..envelope });
            }
            ServerVerdict::Notice(places, message) => {
                let pipes: Vec<Arc<Pipe>> =
                    places.iter().filter_map(|place| state.pipes.get(place).cloned()).collect();
                drop(state);
                if let Ok(envelope) = Envelope::parse(&message) {
                    pipes.iter().for_each(|pipe| pipe.hand(message.clone(), &envelope));
                }
            }
            // A server that does not read must not stop its own reader.
            ServerVerdict::Reply(reply) => self.inbox.try_send(reply),
            ServerVerdict::Log => {
                let text = envelope.params.map_or("", |params| params.get());
                let text: String = text.chars().take(LOG_TEXT).collect();
                tracing::debug!(target: "mooring::server", server = %self.server, "logs {text}");
            }
            ServerVerdict::Nothing => {
                tracing::debug!(
                    server = %self.server, method = envelope.method(),
                    "a message of a shared process that is nobody's"
                );
            }
        }
    }

    /// The call of this number is answered otherwise: by whose pipe, and under
    /// which id.
    fn forget(&self, number: Option<u64>) -> Option<(Arc<Pipe>, Box<RawValue>)> {
        let mut state = self.state();
        let (place, id) = state.board.forget_call(number?)?;
        state.pipes.get(&place).map(|pipe| (Arc::clone(pipe), id))
    }

    /// Says whether it was a call.
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
            match id_of_malformed(&message).and_then(|id| self.forget(id.parse().ok())) {
                Some((pipe, id)) => pipe.answers_nonsense(id.get()),
                None => {
                    tracing::debug!(server = %self.server, bytes = message.len(), "a line that is no message");
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

    /// One session's long answer is not the others' trouble.
    fn overflows(&self, head: &[u8], text: &str) {
        if !self.fail_one(long_line::number_at_the_beginning(head), text) {
            self.state().overflowing = Some(text.to_owned());
        }
    }

    fn overflowed(&self, tail: &[u8]) {
        let Some(text) = self.state().overflowing.take() else { return };
        if !self.fail_one(long_line::number_at_the_end(tail), &text) {
            self.state().board.forget_calls();
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
