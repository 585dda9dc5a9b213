//! `subscriptions/listen`: notifications for as long as the client reads them.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};

use crate::edge::access::fair_share::SharePlace;
use crate::edge::bridge::ahead::AHEAD;
use crate::edge::bridge::inner_session::InnerInUse;
use crate::edge::bridge::session_feeds::FeedItem;
use crate::edge::client_request::ClientRequest;
use crate::edge::refusal::Refusal;
use crate::edge::session::client_session::Session;
use crate::edge::worker::Worker;
use crate::model::{NodeId, Scope, ServerName};
use crate::net::Body;
use crate::protocol::jsonrpc;
use crate::protocol::{splice, sse};
use crate::sync::until;

use super::changed_lists::ChangedLists;
use super::list_servers::ListServers;
use super::own_view::OwnView;
use super::request::ModernRequest;
use super::respond::event_stream;
use super::subscribed::{Heard, Wanted, ended};
use super::task_watch::TaskWatch;
use super::tasks::KnownTask;
use super::unheard::{Unheard, next_change};

/// Between two looks whether the servers that have granted resources are still heard.
const LOOK: Duration = Duration::from_secs(1);
/// How long one that is not heard any more may take to be heard elsewhere by itself.
const SETTLE: Duration = Duration::from_millis(100);

/// A client that listens.
pub(super) struct Listening {
    pub(super) worker: Worker,
    pub(super) context: ClientRequest,
    pub(super) scope: Scope,
    pub(super) session: Session,
    _in_use: InnerInUse,
    _place: SharePlace,
    /// The id of its request, as JSON.
    pub(super) id: String,
    pub(super) wanted: Wanted,
    /// Those of the wanted tasks that are the client's.
    tasks: Vec<KnownTask>,
    /// What of all this is for the client; `None` if everything is.
    view: Option<OwnView>,
    /// Servers without sessions, which say of their lists themselves.
    list_servers: ListServers,
}

impl ModernRequest<'_> {
    /// The stream of a client that listens. It begins with what the client gets.
    ///
    /// # Errors
    /// If the request cannot be read, or there are too many sessions.
    pub async fn listen(&self) -> Result<Response<Body>, Refusal> {
        let wanted = Wanted::of(self.envelope.params);
        let wanted = wanted.map_err(|why| Refusal::InvalidParams(why.to_owned()))?;
        let session = self.session()?;
        self.observed(&session, self.listen_to(wanted, session.clone())).await
    }

    async fn listen_to(
        &self,
        mut wanted: Wanted,
        mut session: Session,
    ) -> Result<Response<Body>, Refusal> {
        // From here on something is kept for it.
        let bytes = session.params.len() + wanted.bytes();
        let place = self.worker.listener_place(self.context, bytes)?;
        let mut in_use = self.worker.use_inner(self.context, &session)?;
        // What its servers are, and whether it has ended, may be known to another coordinator alone.
        if let Some(sharing) = &self.worker.edge.sharing
            && session.has_id
            && !sharing.refresh(session.id).await
        {
            session = self.session()?;
            in_use = self.worker.use_inner(self.context, &session)?;
        }
        let tasks = self.listened(&wanted, &session).await?;
        wanted.tasks = tasks.iter().map(|task| task.shown.clone()).collect();
        // Before anything is subscribed to, so that nothing is missed.
        let feed = self.worker.session_feed(self.scope, &session)?;
        let view = OwnView::of(self.worker, self.scope, &session).await;
        let list_servers = self.list_servers(&wanted);
        let listening = Listening {
            worker: self.worker.clone(),
            context: self.context.clone(),
            scope: self.scope.clone(),
            session,
            _in_use: in_use,
            _place: place,
            id: self.id.to_owned(),
            wanted,
            tasks,
            view,
            list_servers,
        };
        let (sender, receiver) = mpsc::channel(AHEAD);
        tokio::spawn(listening.run(feed, sender));
        let client = (self.principal, self.context.identity.as_ref());
        let response = event_stream(Body::Channel(receiver));
        Ok(self.worker.while_let_in(response, self.scope, client))
    }

    /// Those of the wanted tasks that are the client's.
    async fn listened(
        &self,
        wanted: &Wanted,
        session: &Session,
    ) -> Result<Vec<KnownTask>, Refusal> {
        let mut tasks = Vec::new();
        for id in wanted.tasks.iter().filter(|_| self.context.takes_tasks()) {
            tasks.extend(self.known_task(id, session).await?);
        }
        Ok(tasks)
    }
}

impl Listening {
    async fn run(mut self, mut feed: broadcast::Receiver<FeedItem>, sender: mpsc::Sender<Bytes>) {
        self.list_servers.begin().await;
        self.subscribe(&sender).await;
        let early = self.list_servers.acknowledged().await;
        let first = self.wanted.acknowledged(&self.id);
        let watch = TaskWatch {
            worker: self.worker.clone(),
            context: self.context.clone(),
            scope: self.scope.clone(),
            id: self.id.clone(),
        };
        let tasks = std::mem::take(&mut self.tasks);
        let watching = async {
            watch.run(&tasks, &sender).await;
            std::future::pending::<()>().await;
        };
        if sender.send(sse::event(&first)).await.is_ok() {
            tokio::select! {
                () = sender.closed() => {}
                () = self.tell(&mut feed, &sender, early) => {}
                () = watching => {}
            }
        }
        self.unsubscribe().await;
    }

    /// Hands notifications on, until this process leaves; first those that came early.
    async fn tell(
        &mut self,
        feed: &mut broadcast::Receiver<FeedItem>,
        sender: &mpsc::Sender<Bytes>,
        early: Vec<Bytes>,
    ) {
        let keep_alive = self.worker.edge.config.keep_alive;
        let mut leaving = self.worker.edge.leaving.watch();
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut unheard = Unheard::default();
        let mut heard_servers = self.heard_servers();
        let mut quiet = Instant::now();
        let mut changed = ChangedLists::default();
        for note in &early {
            changed.put(note, self.has_open(), Instant::now());
        }
        loop {
            let heard = tokio::select! {
                heard = tokio::time::timeout_at(quiet + keep_alive, feed.recv()) => heard,
                note = self.list_servers.next() => {
                    changed.put(&note, self.has_open(), Instant::now());
                    continue;
                }
                () = until(changed.due()) => {
                    for list in changed.take() {
                        let note = jsonrpc::notification(list.changed());
                        let Some(message) = self.told(&note).await else { continue };
                        if sender.send(sse::event(&splice::on_one_line(message))).await.is_err() {
                            return;
                        }
                    }
                    quiet = Instant::now();
                    continue;
                }
                () = next_change(&mut heard_servers), if !self.wanted.resources.is_empty() => {
                    if unheard.is_none() && self.is_cut_off() {
                        unheard.begin();
                        look.reset_after(SETTLE);
                    }
                    continue;
                }
                _ = look.tick(), if !self.wanted.resources.is_empty() => {
                    heard_servers = heard_servers.or_else(|| self.heard_servers());
                    if unheard.is_due(self.is_cut_off()) && self.renew().await {
                        unheard = Unheard::default();
                        // Nobody knows what has changed meanwhile.
                        Ok(Err(broadcast::error::RecvError::Lagged(0)))
                    } else {
                        continue;
                    }
                }
                () = leaving.raised() => {
                    let _ = sender.send(sse::event(&ended(&self.id))).await;
                    return;
                }
            };
            let told: Vec<Bytes> = match heard {
                Ok(Ok(FeedItem::Message(message))) => {
                    // It stands for what was said before.
                    changed.told(&message);
                    self.told(&message).await.into_iter().collect()
                }
                Ok(Ok(FeedItem::Unsubscribed(uri))) => {
                    self.subscribe_again(uri).await.into_iter().collect()
                }
                Ok(Ok(FeedItem::Missed) | Err(broadcast::error::RecvError::Lagged(_))) => {
                    self.wanted.missed(&self.id)
                }
                Ok(Err(broadcast::error::RecvError::Closed)) => {
                    let _ = sender.send(sse::event(&ended(&self.id))).await;
                    return;
                }
                Err(_) => {
                    quiet = Instant::now();
                    let _ = sender.send(Bytes::from_static(sse::KEEP_ALIVE)).await;
                    continue;
                }
            };
            quiet = Instant::now();
            for message in told {
                if sender.send(sse::event(&splice::on_one_line(message))).await.is_err() {
                    return;
                }
            }
        }
    }

    /// What a message of the session is to this client.
    async fn told(&mut self, message: &[u8]) -> Option<Bytes> {
        let heard = Heard::of(message)?;
        let heard = match (&mut self.view, heard) {
            (None, heard) => heard,
            (Some(view), Heard::Changed(list)) => {
                view.has_changed(list).await.then_some(Heard::Changed(list))?
            }
            (Some(view), Heard::Updated(uri)) => {
                Heard::Updated(view.uri(&uri, &self.wanted.resources)?)
            }
        };
        self.wanted.told(&heard, &self.id)
    }

    /// Where it shows at once that a server is not heard any more. `None` while the session has no
    /// stream here.
    fn heard_servers(&self) -> Option<watch::Receiver<BTreeMap<ServerName, NodeId>>> {
        Some(self.worker.edge.streams.get(self.session.id)?.heard.subscribe())
    }

    /// Whether the conversation has any server open, and so may hear of it by itself.
    fn has_open(&self) -> bool {
        let record = self.worker.edge.bindings.record(self.session.id);
        record.is_some_and(|record| !record.servers.is_empty())
    }
}
