//! What an inner session hears outside of requests: one stream for all clients that listen, since a
//! session has one reader of it.

use bytes::Bytes;
use tokio::sync::broadcast;

use crate::edge::refusal::Refusal;
use crate::edge::session::client_session::Session;
use crate::edge::worker::Worker;
use crate::model::Scope;
use crate::net::{Body, EventReader, Read};
use crate::protocol::jsonrpc::{Envelope, Kind};

use super::questions;

/// Messages by which a client may be behind. Who is further behind is told that all lists may differ.
const BEHIND: usize = 256;

impl Worker {
    /// What the session hears from now on, of all that its URL has: those who listen may have different
    /// rights, and hear what is theirs.
    ///
    /// # Errors
    /// If it cannot listen.
    pub(in crate::edge) fn session_feed(
        &self,
        scope: &Scope,
        session: &Session,
    ) -> Result<broadcast::Receiver<Bytes>, Refusal> {
        let mut feeds = self.edge.feeds.open.lock();
        if let Some(sender) = feeds.get(&session.id) {
            return Ok(sender.subscribe());
        }
        let response = self.aggregate_stream(scope.of_url(), session, None, None)?;
        let (sender, receiver) = broadcast::channel(BEHIND);
        feeds.insert(session.id, sender.clone());
        let feed = Feed { worker: self.clone(), session: session.clone(), sender };
        tokio::spawn(feed.run(response.into_body()));
        Ok(receiver)
    }
}

struct Feed {
    worker: Worker,
    session: Session,
    sender: broadcast::Sender<Bytes>,
}

impl Feed {
    async fn run(self, body: Body) {
        let mut events = EventReader::new(body, self.worker.edge.config.line);
        loop {
            tokio::select! {
                read = events.next() => match read {
                    Some(Read::Event(event)) if event.has_message() => {
                        self.hear(event.data.into()).await;
                    }
                    Some(Read::Event(_) | Read::Comment) => {}
                    Some(Read::Broken(_)) | None => break,
                },
                () = self.sender.closed() => {
                    if self.is_left() { return }
                }
            }
        }
        self.worker.edge.feeds.open.lock().remove(&self.session.id);
    }

    /// Whether nobody listens any more: then the next one begins another feed.
    fn is_left(&self) -> bool {
        let mut feeds = self.worker.edge.feeds.open.lock();
        let is_left = self.sender.receiver_count() == 0;
        if is_left {
            feeds.remove(&self.session.id);
        }
        is_left
    }

    /// Hands a notification on. A question belongs to no request, so that its client cannot be asked.
    async fn hear(&self, message: Bytes) {
        let Ok(envelope) = Envelope::parse(&message) else { return };
        match (envelope.kind(), envelope.id_text()) {
            (Kind::Notification, _) => {
                let _ = self.sender.send(message);
            }
            (Kind::Request, Some(id)) => {
                let refused = questions::refused(id, envelope.method());
                self.worker.answer_question(None, &self.session, &refused).await;
            }
            (Kind::Request | Kind::Response, _) => {}
        }
    }
}
