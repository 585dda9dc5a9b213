//! Listens to one server of an aggregate, for the session's GET stream.
//!
//! If the server is lost, stopped or not open yet, its runner has no stream until the session is
//! opened there again; the runner is then asked at growing intervals.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use tokio::sync::{mpsc, watch};

use crate::edge::delivery::call::Call;
use crate::edge::delivery::outgoing::Outgoing;
use crate::edge::session::client_session::Session;
use crate::edge::session::get_streams::Heard;
use crate::edge::worker::Worker;
use crate::model::{NodeId, ServerName};
use crate::net::{Body, EventReader, Read, is_event_stream};

/// Pause before the next attempt to listen. It doubles each time, up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_secs(1);
/// An opening on another gateway is not announced here, and is noticed this late.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Forwards the messages of one server's stream while the session is bound to the server.
pub struct ServerListener {
    worker: Worker,
    session: Session,
    server: ServerName,
    /// Servers that the session listens to.
    heard: Heard,
    opened_servers: watch::Receiver<u64>,
}

impl ServerListener {
    #[must_use]
    pub fn of(worker: &Worker, session: &Session, server: ServerName, heard: &Heard) -> Self {
        Self {
            worker: worker.clone(),
            session: session.clone(),
            server,
            heard: heard.clone(),
            opened_servers: worker.edge.opened_servers.watch(session.id),
        }
    }

    /// Listens until the binding or the receiver of the messages is gone.
    pub async fn run(mut self, sender: mpsc::Sender<(ServerName, Bytes)>) {
        let mut last: Option<String> = None;
        let mut pause = PAUSE;
        while self.worker.edge.bindings.look(self.session.id, &self.server).is_some() {
            let last_event_id = last.as_deref().and_then(|id| HeaderValue::from_str(id).ok());
            let outgoing = Outgoing::get(last_event_id);
            let call = Call::own(&self.worker, &self.session, &self.server);
            let watch = call.watch_binding();
            let listening = call.listen_where_open(&outgoing);
            let Some(listened) = watch.unless_moved(listening).await else { continue };
            // An open server counts as heard even without a stream: none will come.
            self.say_heard(listened.as_ref().map(|(_, node)| node));
            let good = listened.filter(|(response, _)| response.status().is_success());
            if let Some((response, node)) = good.filter(|(response, _)| is_event_stream(response)) {
                pause = PAUSE;
                let body = watch.clone().while_at(node.clone(), response.into_body());
                if self.hand_on(body, &mut last, &sender).await.is_err() {
                    return;
                }
                self.say_heard(None);
                if watch.node().is_some_and(|now| now != node) {
                    continue;
                }
            }
            if let Ok(Err(_)) = tokio::time::timeout(pause, self.opened_servers.changed()).await {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Forwards messages until the stream ends. An error if their receiver is gone.
    async fn hand_on(
        &self,
        body: Body,
        last: &mut Option<String>,
        sender: &mpsc::Sender<(ServerName, Bytes)>,
    ) -> Result<(), mpsc::error::SendError<(ServerName, Bytes)>> {
        let mut events = EventReader::new(body, self.worker.edge.config.line);
        while let Some(read) = events.next().await {
            match read {
                Read::Event(event) => {
                    if event.id.is_some() {
                        last.clone_from(&event.id);
                    }
                    if event.has_message() {
                        sender.send((self.server.clone(), event.data.into())).await?;
                    }
                }
                Read::Comment => {}
                Read::Broken(_) => break,
            }
        }
        Ok(())
    }

    /// Says from which node the server is heard, if it is.
    fn say_heard(&self, from: Option<&NodeId>) {
        self.heard.send_if_modified(|heard| match from {
            Some(node) => heard.insert(self.server.clone(), node.clone()).as_ref() != Some(node),
            None => heard.remove(&self.server).is_some(),
        });
    }
}

impl Drop for ServerListener {
    fn drop(&mut self) {
        self.say_heard(None);
    }
}
