//! Listens to one server of an aggregate, for the session's GET stream.
//!
//! If the server is lost, stopped or not open yet, its runner has no stream until the session is
//! opened there again; the runner is then asked at growing intervals.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use tokio::sync::{mpsc, watch};

use crate::edge::delivery::call::Call;
use crate::edge::delivery::outgoing::Outgoing;
use crate::edge::session::client_session::Session;
use crate::edge::worker::Worker;
use crate::model::ServerName;
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
    heard: Arc<watch::Sender<BTreeSet<ServerName>>>,
    opened_servers: watch::Receiver<u64>,
}

impl ServerListener {
    #[must_use]
    pub fn of(
        worker: &Worker,
        session: &Session,
        server: ServerName,
        heard: &Arc<watch::Sender<BTreeSet<ServerName>>>,
    ) -> Self {
        Self {
            worker: worker.clone(),
            session: session.clone(),
            server,
            heard: Arc::clone(heard),
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
            let response = call.listen_where_open(&outgoing).await;
            // An open server counts as heard even without a stream: none will come.
            self.say_heard(response.is_some());
            let good = response.filter(|response| response.status().is_success());
            if let Some(response) = good.filter(is_event_stream) {
                pause = PAUSE;
                if self.hand_on(response.into_body(), &mut last, &sender).await.is_err() {
                    return;
                }
                self.say_heard(false);
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

    fn say_heard(&self, is_heard: bool) {
        self.heard.send_if_modified(|heard| {
            if is_heard { heard.insert(self.server.clone()) } else { heard.remove(&self.server) }
        });
    }
}

impl Drop for ServerListener {
    fn drop(&mut self) {
        self.say_heard(false);
    }
}
