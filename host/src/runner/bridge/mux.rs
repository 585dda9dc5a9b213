//! One process of a server of the revision without sessions, for all sessions at once: it is made
//! for that, since every request says what it needs (2026-07-28, basic/transports/stdio).
//!
//! Requests get ids of the mux, which are their progress tokens too. Answers go by id, progress by
//! token, notifications of a subscription by its id. Of log messages nothing shows whose they are:
//! they go to the only request under way that wants some, or nowhere.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use crate::model::ServerName;
use crate::protocol::era::answered::subscription;
use crate::protocol::jsonrpc::{self, Envelope, Kind, code};
use crate::protocol::splice::RequestTarget;
use crate::protocol::{answer, methods};
use crate::runner::channel::long_line;
use crate::runner::channel::message_ids::{cancelled_request, other_forms};
use crate::runner::channel::queue::ToServer;
use crate::runner::channel::sink::{MessageSink, id_of_request};
use crate::runner::channel::spoilt;
use crate::sync::{Locked, Signal};

use super::exchange::{Heard, Outgoing, Unanswered};

/// Notifications of one request that wait for their reader; further ones are dropped.
const WAITING: usize = 1024;

/// What the reader of the process and the sessions share.
pub struct ModernMux {
    server: ServerName,
    line: usize,
    inbox: ToServer,
    state: Locked<MuxState>,
    next: AtomicU64,
    answers: AtomicU32,
    /// Why the process is gone, once it is.
    pub lost: watch::Sender<Option<Arc<str>>>,
    /// Raised once no more sessions come: its server has other settings by now.
    pub retired: Signal,
    /// The sessions that use it.
    pub users: watch::Sender<usize>,
    /// How often such a process has ended by itself before this start.
    pub restarts: AtomicU64,
}

#[derive(Default)]
struct MuxState {
    open: HashMap<u64, OpenRequest>,
    /// No session comes any more.
    is_closed: bool,
    /// The error for the request that the line being skipped answers.
    overflowing: Option<String>,
}

struct OpenRequest {
    notices: mpsc::Sender<Bytes>,
    answer: oneshot::Sender<Result<Bytes, Unanswered>>,
    takes_logs: bool,
    is_listening: bool,
}

impl ModernMux {
    #[must_use]
    pub fn new(server: &ServerName, line: usize, inbox: ToServer) -> Arc<Self> {
        Arc::new(Self {
            server: server.clone(),
            line,
            inbox,
            state: Locked::default(),
            next: 1.into(),
            answers: 0.into(),
            lost: watch::Sender::new(None),
            retired: Signal::default(),
            users: watch::Sender::new(0),
            restarts: 0.into(),
        })
    }

    #[must_use]
    pub fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends a request once there is room for it.
    pub async fn send(self: &Arc<Self>, outgoing: Outgoing) -> MuxExchange {
        let Outgoing { number, message, takes_logs, .. } = outgoing;
        let (notices, heard) = mpsc::channel(WAITING);
        let (answer, answered) = oneshot::channel();
        let is_listening = Envelope::parse(&message)
            .is_ok_and(|request| request.method() == crate::protocol::era::methods::LISTEN);
        let exchange =
            MuxExchange { mux: Arc::clone(self), number, notices: heard, answer: Some(answered) };
        let room = self.inbox.reserve(message.len()).await;
        let mut state = self.state();
        match room.filter(|_| self.lost.borrow().is_none()) {
            Some(room) => {
                let request = OpenRequest { notices, answer, takes_logs, is_listening };
                state.open.insert(number, request);
                room.send(message, None);
            }
            None => drop(answer.send(Err(self.unread()))),
        }
        exchange
    }

    /// Takes a place at the process. `None` if it has ended or is being closed.
    #[must_use]
    pub fn enter(self: &Arc<Self>, pid: u32) -> Option<Arc<Place>> {
        if self.state().is_closed {
            return None;
        }
        self.users.send_modify(|users| *users += 1);
        Some(Arc::new(Place { mux: Arc::clone(self), pid }))
    }

    /// Closes the process to further sessions if none uses it; returns whether it is closed.
    pub fn close_if_empty(&self) -> bool {
        let mut state = self.state();
        state.is_closed |= *self.users.borrow() == 0;
        state.is_closed
    }

    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state().is_closed
    }

    fn unread(&self) -> Unanswered {
        let why = format!("server {} has ended; nothing was sent to it", self.server);
        Unanswered { may_have_run: false, is_gone: true, why }
    }

    fn hear(&self, message: &Bytes, envelope: &Envelope<'_>) {
        match envelope.kind() {
            Kind::Response => self.take_answer(message, envelope),
            Kind::Notification => self.take_notice(message, envelope),
            Kind::Request => {
                // The server may do nothing else until it has an answer.
                let id = envelope.id_text();
                let text = "a server of this revision asks for input in its results";
                self.inbox.try_send(jsonrpc::error(id, code::METHOD_NOT_FOUND, text));
            }
        }
    }

    fn take_answer(&self, message: &Bytes, envelope: &Envelope<'_>) {
        let number = envelope.id_text().and_then(number_of);
        let mut state = self.state();
        let number = number.or_else(|| {
            // An error without an id is about a message that could not be read.
            let mut open = state.open.keys();
            open.next().copied().filter(|_| open.next().is_none() && envelope.error.is_some())
        });
        let Some(number) = number else { return };
        let Some(request) = state.open.remove(&number) else { return };
        drop(state);
        self.answers.fetch_add(1, Ordering::Relaxed);
        let id = number.to_string();
        let answer = match envelope.id_text() == Some(&*id) {
            true => Some(message.clone()),
            false => answer::rewritten(&id, envelope),
        };
        drop(request.answer.send(answer.ok_or_else(|| {
            let why = spoilt::tell(&self.server, message);
            Unanswered { may_have_run: true, is_gone: false, why }
        })));
    }

    fn take_notice(&self, message: &Bytes, notice: &Envelope<'_>) {
        let state = self.state();
        let of = |number: Option<u64>| {
            number.and_then(|number| state.open.get(&number)).into_iter().collect::<Vec<_>>()
        };
        let target = RequestTarget::of(notice.params);
        let listening = subscription(notice.params).map(|id| number_of(id.get()));
        let receivers = match (notice.method(), listening) {
            (_, Some(number)) => of(number),
            (methods::PROGRESS, None) => {
                let token = target.and_then(|target| target.progress_token);
                of(token.and_then(|token| number_of(token.get())))
            }
            (methods::MESSAGE, None) => {
                let wanting: Vec<_> = state.open.values().filter(|open| open.takes_logs).collect();
                if wanting.len() == 1 { wanting } else { Vec::new() }
            }
            (methods::CANCELLED, None) => {
                let number = cancelled_request(notice).and_then(number_of);
                drop(state);
                self.end_listening(number);
                return;
            }
            // Harmless, whoever gets it: it says that lists are to be read again.
            (method, None) if methods::is_list_changed(method) => {
                state.open.values().filter(|open| open.is_listening).collect()
            }
            (_, None) => Vec::new(),
        };
        if receivers.is_empty() {
            tracing::debug!(
                server = %self.server, method = notice.method(),
                "dropped a notification that belongs to no request"
            );
        }
        for receiver in receivers {
            drop(receiver.notices.try_send(message.clone()));
        }
    }

    /// The server ends a subscription by itself.
    fn end_listening(&self, number: Option<u64>) {
        let mut state = self.state();
        let is_one = |number: &u64| state.open.get(number).is_some_and(|open| open.is_listening);
        let Some(number) = number.filter(is_one) else { return };
        if let Some(request) = state.open.remove(&number) {
            let id = number.to_string();
            drop(request.answer.send(Ok(jsonrpc::result(&id, b"{}"))));
        }
    }

    fn give_up(&self, number: u64) -> Option<OpenRequest> {
        self.state().open.remove(&number)
    }

    fn fail_one(&self, number: Option<u64>, text: &str) -> bool {
        let Some(request) = number.and_then(|number| self.give_up(number)) else { return false };
        let why = Unanswered { may_have_run: true, is_gone: false, why: text.to_owned() };
        drop(request.answer.send(Err(why)));
        true
    }

    fn fail_all(&self, text: &str, is_gone: bool) {
        let open = std::mem::take(&mut self.state().open);
        for request in open.into_values() {
            let why = Unanswered { may_have_run: true, is_gone, why: text.to_owned() };
            drop(request.answer.send(Err(why)));
        }
    }

    fn state(&self) -> MutexGuard<'_, MuxState> {
        self.state.lock()
    }
}

/// An id or token of the mux, however a server has written it.
fn number_of(raw: &str) -> Option<u64> {
    raw.parse().ok().or_else(|| other_forms(raw).find_map(|form| form.parse().ok()))
}

impl MessageSink for ModernMux {
    fn server(&self) -> &ServerName {
        &self.server
    }

    fn line(&self) -> usize {
        self.line
    }

    async fn take(&self, message: Bytes) {
        if let Ok(envelope) = Envelope::parse(&message) {
            return self.hear(&message, &envelope);
        }
        for object in spoilt::objects_in(&message).unwrap_or_default() {
            if let Ok(envelope) = Envelope::parse(&object) {
                self.hear(&object, &envelope);
            }
        }
        if let Some(id) = spoilt::answered(&message) {
            self.fail_one(number_of(&id), &spoilt::tell(&self.server, &message));
        }
    }

    fn overflows(&self, head: &[u8], text: &str) {
        if long_line::is_no_answer(head) {
            return;
        }
        if !self.fail_one(long_line::number_at_the_beginning(head), text) {
            self.state().overflowing = Some(text.to_owned());
        }
    }

    fn overflowed(&self, tail: &[u8]) {
        let Some(text) = self.state().overflowing.take() else { return };
        if !self.fail_one(long_line::number_at_the_end(tail), &text) {
            self.fail_all(&text, false);
        }
    }

    fn unsent(&self, lines: &[u8]) {
        for line in lines.split(|byte| *byte == b'\n') {
            let number = id_of_request(line).and_then(number_of);
            if let Some(request) = number.and_then(|number| self.give_up(number)) {
                drop(request.answer.send(Err(self.unread())));
            }
        }
    }

    fn answers(&self) -> u32 {
        self.answers.load(Ordering::Relaxed)
    }

    fn end(&self) {
        self.state().is_closed = true;
        let text = format!(
            "server {} has ended while the call was under way; it may have run",
            self.server
        );
        self.fail_all(&text, true);
    }

    fn mark_lost(&self, how: &str) {
        let why: Arc<str> = format!("server {} has ended ({how})", self.server).into();
        self.lost.send_replace(Some(why));
    }
}

/// One session's use of the process. Dropping it frees the place.
pub struct Place {
    mux: Arc<ModernMux>,
    pid: u32,
}

impl Place {
    #[must_use]
    pub fn mux(&self) -> &Arc<ModernMux> {
        &self.mux
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.mux.users.send_modify(|users| *users = users.saturating_sub(1));
    }
}

/// One request to the process.
pub struct MuxExchange {
    mux: Arc<ModernMux>,
    number: u64,
    notices: mpsc::Receiver<Bytes>,
    /// `None` once it was read.
    answer: Option<oneshot::Receiver<Result<Bytes, Unanswered>>>,
}

impl MuxExchange {
    /// What comes next. May be dropped while it waits.
    pub async fn next(&mut self) -> Heard {
        let Some(answer) = &mut self.answer else {
            let why = "it has said nothing more".to_owned();
            return Heard::Failed(Unanswered { may_have_run: true, is_gone: true, why });
        };
        let answered = tokio::select! {
            biased;
            Some(notice) = self.notices.recv() => return Heard::Notice(notice),
            answered = answer => answered,
        };
        // What came before the answer goes first.
        if let Ok(notice) = self.notices.try_recv() {
            let (again, kept) = oneshot::channel();
            if let Ok(answered) = answered {
                drop(again.send(answered));
            }
            self.answer = Some(kept);
            return Heard::Notice(notice);
        }
        self.answer = None;
        match answered {
            Ok(Ok(answer)) => Heard::Answer(answer),
            Ok(Err(why)) => Heard::Failed(why),
            Err(_) => {
                let why = format!("server {} has not answered", self.mux.server);
                Heard::Failed(Unanswered { may_have_run: true, is_gone: true, why })
            }
        }
    }
}

impl Drop for MuxExchange {
    fn drop(&mut self) {
        if self.mux.give_up(self.number).is_some() {
            let id = self.number.to_string();
            self.mux.inbox.try_send(jsonrpc::cancelled(&id, "no longer wanted"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(number: u64, method: &str, takes_logs: bool) -> Outgoing {
        let message = jsonrpc::request(&number.to_string(), method, "{}");
        Outgoing { number, message, headers: http::HeaderMap::new(), takes_logs }
    }

    async fn text(heard: Heard) -> String {
        match heard {
            Heard::Notice(message) | Heard::Answer(message) => {
                String::from_utf8(message.to_vec()).unwrap()
            }
            Heard::Failed(why) => why.why,
        }
    }

    #[tokio::test]
    async fn each_request_gets_what_is_meant_for_it() {
        let (inbox, mut outbox) = ToServer::new();
        let mux = ModernMux::new(&ServerName::parse("s").unwrap(), 1 << 20, inbox);
        let (one, two) = (mux.number(), mux.number());
        let mut first = mux.send(request(one, "tools/call", true)).await;
        let mut second = mux.send(request(two, "subscriptions/listen", false)).await;
        for _ in 0..2 {
            assert!(outbox.recv().await.is_some());
        }
        let say = |text: String| mux.take(Bytes::from(text));
        let progress = |token: &str| {
            format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#
            )
        };
        say(progress("\"1\"")).await;
        say(progress("99")).await;
        say(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"data":1}}"#.into())
            .await;
        let updated = r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a","_meta":{"io.modelcontextprotocol/subscriptionId":2}}}"#;
        say(updated.into()).await;
        say(r#"{"jsonrpc":"2.0","id":"1","result":{"a":1}}"#.into()).await;
        assert!(text(first.next().await).await.contains("progress"));
        assert!(text(first.next().await).await.contains("notifications/message"));
        let answer = first.next().await;
        assert!(matches!(&answer, Heard::Answer(_)));
        assert!(text(answer).await.contains(r#""id":1,"#));
        assert_eq!(text(second.next().await).await, updated);
        // It cannot be said whose it is.
        let three = mux.number();
        let third = mux.send(request(three, "tools/call", true)).await;
        let mut fourth = mux.send(request(mux.number(), "tools/call", true)).await;
        say(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#.into()).await;
        assert!(fourth.notices.try_recv().is_err());
        for _ in 0..2 {
            assert!(outbox.recv().await.is_some());
        }
        drop(third);
        let cancelled = outbox.recv().await.unwrap().0;
        assert!(std::str::from_utf8(&cancelled).unwrap().contains(r#""requestId":3"#));
        drop(first);
        assert!(outbox.try_recv().is_err(), "it is answered: nothing is left to cancel");
        mux.end();
        assert!(matches!(
            second.next().await,
            Heard::Failed(Unanswered { may_have_run: true, .. })
        ));
        assert!(matches!(fourth.next().await, Heard::Failed(_)));
    }

    #[tokio::test]
    async fn what_the_process_has_not_read_has_not_run() {
        let (inbox, outbox) = ToServer::new();
        let mux = ModernMux::new(&ServerName::parse("s").unwrap(), 1 << 20, inbox);
        let number = mux.number();
        let mut asked = mux.send(request(number, "tools/call", false)).await;
        mux.unsent(&jsonrpc::request("1", "tools/call", "{}"));
        assert!(matches!(
            asked.next().await,
            Heard::Failed(Unanswered { may_have_run: false, .. })
        ));
        drop(outbox);
        let mut late = mux.send(request(mux.number(), "tools/call", false)).await;
        assert!(matches!(late.next().await, Heard::Failed(Unanswered { may_have_run: false, .. })));
    }

    #[test]
    fn a_place_is_free_again_when_it_is_left() {
        let (inbox, _outbox) = ToServer::new();
        let mux = ModernMux::new(&ServerName::parse("s").unwrap(), 1 << 20, inbox);
        let place = mux.enter(7).unwrap();
        assert!(!mux.close_if_empty());
        drop(place);
        assert!(mux.close_if_empty() && mux.enter(7).is_none());
    }
}
