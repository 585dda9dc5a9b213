//! The servers without sessions at a URL of several that a client hears of their lists from. Those with
//! sessions are heard in the conversation's own.
//!
//! That a server has no sessions shows in what it offers, which is fetched when somebody first needs it. So
//! that is waited for, and a server of which it shows later is asked then.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::edge::bridge::ahead::AHEAD;
use crate::edge::client_request::ClientRequest;
use crate::edge::pass_through::listened::{ListenedServer, NodeSaid};
use crate::edge::worker::Worker;
use crate::model::{NodeId, Principal, Scope, ServerName};
use crate::protocol::initialize::ClientSet;

/// How long these servers are waited for. They need not be started for the client.
const ACKNOWLEDGES: Duration = Duration::from_secs(2);

/// What a client's request for their lists becomes.
pub struct ListsRequest {
    pub worker: Worker,
    pub context: ClientRequest,
    pub scope: Scope,
    pub principal: Principal,
    /// The request, as each of them gets it. `None` if the client wants no lists.
    pub message: Option<Bytes>,
}

/// The servers that are asked, and what they say.
pub struct ListServers {
    of: ListsRequest,
    sender: mpsc::Sender<(NodeId, NodeSaid)>,
    said: mpsc::Receiver<(NodeId, NodeSaid)>,
    changes: watch::Receiver<u64>,
    /// Ends when nobody has the server any more, or it has answered.
    asked: BTreeMap<ServerName, AbortHandle>,
    /// Nodes that have not said anything yet.
    awaited: usize,
}

impl ListServers {
    #[must_use]
    pub fn of(request: ListsRequest) -> Self {
        let (sender, said) = mpsc::channel(AHEAD);
        let changes = request.worker.edge.catalogs.changes();
        Self { of: request, sender, said, changes, asked: BTreeMap::new(), awaited: 0 }
    }

    /// Asks those that are known to have no sessions, once what all offer is known, or some time is over.
    pub async fn begin(&mut self) {
        if self.of.message.is_none() {
            return;
        }
        let ListsRequest { worker, scope, .. } = &self.of;
        let known = worker.scope_catalog(scope, ClientSet::default());
        let _ = tokio::time::timeout(ACKNOWLEDGES, known).await;
        self.awaited = self.look(false);
    }

    /// Asks those that are not asked yet, and returns at how many nodes. What one has said before it
    /// was asked late nobody knows, so that its lists are then said to have changed.
    fn look(&mut self, is_late: bool) -> usize {
        let Some(message) = &self.of.message else { return 0 };
        self.changes.mark_unchanged();
        let ListsRequest { context, scope, principal, .. } = &self.of;
        let worker = self.of.worker.renewed();
        let servers = worker.stateless_members(scope);
        self.asked.retain(|server, task| servers.contains(server) || !task.is_finished());
        let mut nodes = 0;
        for server in servers {
            if self.asked.contains_key(&server) {
                continue;
            }
            let listened = ListenedServer {
                worker: worker.clone(),
                context: context.clone(),
                scope: scope.clone(),
                principal: principal.clone(),
                server: server.clone(),
                message: message.clone(),
            };
            let (count, task) = listened.ask(&self.sender, is_late);
            nodes += count;
            self.asked.insert(server, task);
        }
        nodes
    }

    /// Waits, for a while, until they have taken the request. Returns what they have said besides.
    pub async fn acknowledged(&mut self) -> Vec<Bytes> {
        let mut early = Vec::new();
        let until = Instant::now() + ACKNOWLEDGES;
        while self.awaited > 0 && early.len() < AHEAD {
            match tokio::time::timeout_at(until, self.said.recv()).await {
                Ok(Some((_, said))) if said.is_acknowledgement() => self.awaited -= 1,
                Ok(Some((_, NodeSaid::Note(note)))) => early.push(note),
                Ok(Some((_, NodeSaid::LateGrant(_)))) => {}
                Ok(Some((_, NodeSaid::End(..) | NodeSaid::Failed(_)))) => self.awaited -= 1,
                Ok(None) | Err(_) => break,
            }
        }
        early
    }

    /// What one of them says next. One that comes meanwhile is asked.
    pub async fn next(&mut self) -> Bytes {
        loop {
            tokio::select! {
                biased;
                Ok(()) = self.changes.changed() => {
                    self.look(true);
                }
                Some((_, said)) = self.said.recv() => {
                    if let NodeSaid::Note(note) = said {
                        return note;
                    }
                }
                else => std::future::pending().await,
            }
        }
    }
}
