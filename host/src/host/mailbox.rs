//! Which stream a server's message goes to, for a server with one pipe.
//!
//! Responses go by id and progress by token. Nothing says which request a log
//! line or a server's own request belongs to; within one session any live
//! stream is right, so the newest request in flight gets it, and the GET stream
//! when there is none. What nobody listens for is kept, within bounds.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use crate::protocol::jsonrpc::{self, Envelope, Kind, code};
use crate::protocol::methods;

use super::events::Message;

/// Messages kept for a GET stream that is not open, and their bytes.
const KEPT_MESSAGES: usize = 256;
const KEPT_BYTES: usize = 1 << 20;
/// Messages waiting for one client connection; beyond that the server's pipe
/// waits too.
pub const STREAM_QUEUE: usize = 64;

struct InFlight {
    sink: mpsc::Sender<Message>,
    progress_token: Option<String>,
    order: u64,
}

#[derive(Default)]
pub struct Mailbox {
    in_flight: HashMap<String, InFlight>,
    next_order: u64,
    listener: Option<mpsc::Sender<Message>>,
    kept: VecDeque<Bytes>,
    kept_bytes: usize,
    /// Nothing more comes from the server.
    gone: bool,
}

/// Where a message is to go.
pub enum Delivery {
    To(mpsc::Sender<Message>, Message),
    /// The server asks something that the host itself answers.
    Reply(Bytes),
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    DuplicateId,
    TooMany,
    AlreadyListening,
    /// The server has ended: nothing was sent.
    Gone,
}

#[derive(Deserialize)]
struct WithMeta<'a> {
    #[serde(borrow, rename = "_meta")]
    meta: Option<Meta<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta<'a> {
    #[serde(borrow)]
    progress_token: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Progress<'a> {
    #[serde(borrow)]
    progress_token: Option<&'a RawValue>,
}

impl Mailbox {
    /// Expects the answer to a request.
    pub fn expect(
        &mut self,
        request: &Envelope<'_>,
        limit: usize,
    ) -> Result<mpsc::Receiver<Message>, Refused> {
        if self.gone {
            return Err(Refused::Gone);
        }
        let key = key(request.id_text().unwrap_or("null"));
        if self.in_flight.contains_key(&key) {
            return Err(Refused::DuplicateId);
        }
        if self.in_flight.len() >= limit {
            return Err(Refused::TooMany);
        }
        let (sink, messages) = mpsc::channel(STREAM_QUEUE);
        let progress_token = request
            .params
            .filter(|params| params.get().contains("progressToken"))
            .and_then(|params| serde_json::from_str::<WithMeta<'_>>(params.get()).ok())
            .and_then(|params| params.meta?.progress_token)
            .map(|token| self::key(token.get()));
        let order = self.next_order;
        self.next_order += 1;
        self.in_flight.insert(key, InFlight { sink, progress_token, order });
        Ok(messages)
    }

    /// Opens the GET stream and gives it what was kept.
    pub fn listen(&mut self) -> Result<mpsc::Receiver<Message>, Refused> {
        if self.listener.as_ref().is_some_and(|listener| !listener.is_closed()) {
            return Err(Refused::AlreadyListening);
        }
        let (sink, messages) = mpsc::channel(KEPT_MESSAGES + STREAM_QUEUE);
        self.kept_bytes = 0;
        for message in self.kept.drain(..) {
            // The channel is larger than what is kept.
            let _ = sink.try_send(Message::Part(message));
        }
        self.listener = Some(sink);
        Ok(messages)
    }

    /// Takes one message of the server.
    pub fn deliver(&mut self, line: Bytes, envelope: &Envelope<'_>) -> Delivery {
        match envelope.kind() {
            Kind::Response => {
                let Some(id) = envelope.id_text() else { return Delivery::Done };
                match self.in_flight.remove(&key(id)) {
                    Some(request) => Delivery::To(request.sink, Message::Last(line)),
                    None => Delivery::Done,
                }
            }
            Kind::Request if envelope.method() == "ping" => {
                Delivery::Reply(jsonrpc::result(envelope.id_text().unwrap_or("null"), b"{}"))
            }
            Kind::Request => self.send_related(line),
            Kind::Notification if methods::is_unrelated(envelope.method()) => {
                self.send_listener(line)
            }
            Kind::Notification if envelope.method() == methods::PROGRESS => {
                match self.by_token(envelope) {
                    Some(sink) => Delivery::To(sink, Message::Part(line)),
                    // Progress of a request that has ended is of no use.
                    None => Delivery::Done,
                }
            }
            Kind::Notification => self.send_related(line),
        }
    }

    /// The client takes a request back. Servers do not answer it then, so it is
    /// answered here.
    pub fn cancel(&mut self, cancelled: &Envelope<'_>) {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Cancelled<'a> {
            #[serde(borrow)]
            request_id: Option<&'a RawValue>,
        }
        let id = cancelled
            .params
            .and_then(|params| serde_json::from_str::<Cancelled<'_>>(params.get()).ok())
            .and_then(|params| params.request_id);
        let Some(id) = id else { return };
        if let Some(request) = self.in_flight.remove(&key(id.get())) {
            let text = "cancelled by the client";
            let error = jsonrpc::error(Some(id.get()), code::CANCELLED, text);
            let _ = request.sink.try_send(Message::Last(error));
        }
    }

    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.in_flight.is_empty() || self.listener.as_ref().is_some_and(|l| !l.is_closed())
    }

    /// The server is gone: every waiting request is answered, and no more taken.
    pub fn end(&mut self, message: &str) {
        self.gone = true;
        self.fail_all(message);
    }

    /// Answers every waiting request.
    pub fn fail_all(&mut self, message: &str) {
        self.listener = None;
        for (id, request) in self.in_flight.drain() {
            let error = jsonrpc::error(Some(&id), code::SERVER_LOST, message);
            let _ = request.sink.try_send(Message::Last(error));
        }
    }

    fn by_token(&self, envelope: &Envelope<'_>) -> Option<mpsc::Sender<Message>> {
        let progress: Progress<'_> = serde_json::from_str(envelope.params?.get()).ok()?;
        let token = key(progress.progress_token?.get());
        self.in_flight
            .values()
            .find(|request| request.progress_token.as_ref() == Some(&token))
            .map(|request| request.sink.clone())
    }

    fn send_related(&mut self, line: Bytes) -> Delivery {
        match self.in_flight.values().filter(|r| !r.sink.is_closed()).max_by_key(|r| r.order) {
            Some(request) => Delivery::To(request.sink.clone(), Message::Part(line)),
            None => self.send_listener(line),
        }
    }

    fn send_listener(&mut self, line: Bytes) -> Delivery {
        if let Some(listener) = &self.listener {
            match listener.try_send(Message::Part(line)) {
                Ok(()) => return Delivery::Done,
                // A listener that does not read must not stop the session's
                // other streams: what does not fit is kept or dropped.
                Err(mpsc::error::TrySendError::Full(Message::Part(line) | Message::Last(line))) => {
                    self.keep(line);
                }
                Err(mpsc::error::TrySendError::Closed(
                    Message::Part(line) | Message::Last(line),
                )) => {
                    self.listener = None;
                    self.keep(line);
                }
            }
            return Delivery::Done;
        }
        self.keep(line);
        Delivery::Done
    }

    fn keep(&mut self, line: Bytes) {
        self.kept_bytes += line.len();
        self.kept.push_back(line);
        while self.kept.len() > KEPT_MESSAGES || self.kept_bytes > KEPT_BYTES {
            match self.kept.pop_front() {
                Some(oldest) => self.kept_bytes -= oldest.len(),
                None => break,
            }
        }
    }
}

/// An id's or token's text, the same for every way to write the same string.
fn key(raw: &str) -> String {
    if raw.starts_with('"')
        && raw.contains('\\')
        && let Ok(text) = serde_json::from_str::<String>(raw)
    {
        return crate::protocol::splice::quoted(&text);
    }
    raw.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expect(mailbox: &mut Mailbox, text: &str) -> mpsc::Receiver<Message> {
        mailbox.expect(&Envelope::parse(text.as_bytes()).unwrap(), 8).unwrap()
    }

    fn deliver(mailbox: &mut Mailbox, text: &'static str) -> &'static str {
        let line = Bytes::from_static(text.as_bytes());
        match mailbox.deliver(line.clone(), &Envelope::parse(&line).unwrap()) {
            Delivery::To(sink, message) => {
                sink.try_send(message).unwrap();
                "sent"
            }
            Delivery::Reply(_) => "reply",
            Delivery::Done => "done",
        }
    }

    fn texts(receiver: &mut mpsc::Receiver<Message>) -> Vec<String> {
        std::iter::from_fn(|| receiver.try_recv().ok())
            .map(|message| match message {
                Message::Part(b) | Message::Last(b) => String::from_utf8(b.to_vec()).unwrap(),
            })
            .collect()
    }

    #[test]
    fn responses_go_by_id_and_progress_by_token() {
        let mut mailbox = Mailbox::default();
        let mut one = expect(
            &mut mailbox,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"progressToken":"t"}}}"#,
        );
        let mut two = expect(
            &mut mailbox,
            r#"{"jsonrpc":"2.0","id":"1","method":"tools/call","params":{"_meta":{"progressToken":0}}}"#,
        );
        deliver(
            &mut mailbox,
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":0,"progress":1}}"#,
        );
        deliver(&mut mailbox, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
        deliver(&mut mailbox, r#"{"jsonrpc":"2.0","id":"\u0031","result":{}}"#);
        assert_eq!(texts(&mut one).len(), 1);
        assert_eq!(texts(&mut two).len(), 2);
        assert!(mailbox.in_flight.is_empty());
    }

    #[test]
    fn an_id_in_flight_is_not_taken_twice() {
        let mut mailbox = Mailbox::default();
        let text = r#"{"jsonrpc":"2.0","id":1,"method":"x"}"#;
        let _first = expect(&mut mailbox, text);
        let second = mailbox.expect(&Envelope::parse(text.as_bytes()).unwrap(), 8);
        assert_eq!(second.err(), Some(Refused::DuplicateId));
    }

    #[test]
    fn what_nobody_listens_for_waits_for_the_stream() {
        let mut mailbox = Mailbox::default();
        let changed = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
        assert_eq!(deliver(&mut mailbox, changed), "done");
        let mut listener = mailbox.listen().unwrap();
        assert_eq!(texts(&mut listener), [changed]);
        assert_eq!(mailbox.listen().err(), Some(Refused::AlreadyListening));
        drop(listener);
        assert!(mailbox.listen().is_ok());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut mailbox = Mailbox::default();
        for _ in 0..KEPT_MESSAGES + 50 {
            deliver(&mut mailbox, r#"{"jsonrpc":"2.0","method":"notifications/message"}"#);
        }
        assert_eq!(texts(&mut mailbox.listen().unwrap()).len(), KEPT_MESSAGES);
    }

    #[test]
    fn a_ping_of_the_server_is_answered_here() {
        let mut mailbox = Mailbox::default();
        assert_eq!(deliver(&mut mailbox, r#"{"jsonrpc":"2.0","id":9,"method":"ping"}"#), "reply");
    }
}
