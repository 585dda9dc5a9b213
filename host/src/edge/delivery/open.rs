//! Opens a session's server at a replica, and finds a replica that can.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::edge::client_request::ClientRequest;
use crate::edge::refusal::Refusal;
use crate::edge::routing::affinity::Token;
use crate::edge::routing::bind::Chosen;
use crate::edge::routing::decisions::Deciding;
use crate::edge::session::client_session::Origin;
use crate::model::{Absence, Epoch, Health, Node, NodeId, Reach};
use crate::net::collect;
use crate::protocol::{methods, splice};
use crate::seam::{Handshake, Start, StateStep};

use super::ask_to_open::RunnerOpened;
use super::call::Call;
use super::left_behind::LeftBehind;
use super::outgoing::Outgoing;
use super::own_request::Silent;
use super::tried::{MAX_RESULT, NotOpened, RefusedBy, Tried};

/// Longest wait for the answer to each restored setting: a server that does not answer must not
/// hold up the message that opens it.
const RESTORE_TIMEOUT: Duration = Duration::from_secs(10);

/// The result of opening a server at one node.
pub struct NodeOpened {
    /// The `InitializeResult`.
    pub result: Bytes,
    /// Whether the session had the server open before, and its state there is lost.
    pub is_lost: bool,
    /// The epoch of the instance that is open now.
    pub epoch: Option<Epoch>,
}

/// What a runner has opened, or had open.
pub(in crate::edge) struct OpenedAt {
    /// The `InitializeResult`.
    pub result: Bytes,
    pub start: Start,
    /// The instance's epoch; `None` from a runner of an earlier version.
    pub epoch: Option<Epoch>,
}

/// A server that is open for the session.
pub struct OpenServer {
    pub node: Arc<Node>,
    /// The `InitializeResult`.
    pub result: Bytes,
    pub token: Option<Token>,
}

/// The node that the session is bound to.
struct Claimed {
    node: NodeId,
    token: Option<Token>,
    /// Whether the strategy has chosen it, and not an earlier binding.
    is_choice: bool,
}

impl Call<'_> {
    /// Binds the session to a node and opens the server there; tries the next node while one
    /// refuses. Nothing of the client's message is sent.
    ///
    /// # Errors
    /// If every node has refused, or the session ends because its server's state is lost.
    pub async fn establish(
        &self,
        message: &[u8],
        handshake: Handshake,
        tried: &mut Tried,
    ) -> Result<OpenServer, Refusal> {
        self.check_login().await?;
        let Self { worker, session, server, .. } = *self;
        let mut has_refused_user = false;
        let (by_plan, mut before) = (self.left_by_plan(), None);
        let request = self.context.map(ClientRequest::id);
        let mut deciding = worker.edge.decisions.begin(request, session.id, server);
        deciding.note_conversation(self.context.and_then(ClientRequest::named_by));
        loop {
            let previous = worker.edge.bindings.get(session.id, server).map(|bound| bound.node);
            before = before.or_else(|| previous.clone());
            if let Some(client) = self.context {
                worker.edge.bindings.belongs_to(session.id, &client.quota);
            }
            // Where another request has bound it meanwhile it stays, whatever the strategy says.
            let bound = previous.clone().filter(|node| self.is_taken_at(node, &tried.nodes));
            let claimed = match bound {
                Some(node) if !self.still_at(&node).await? => continue,
                Some(node) => Some(Claimed { node, token: None, is_choice: false }),
                None => self.claim(message, previous.as_ref(), tried, &mut deciding).await?,
            };
            let Some(Claimed { node: winner, token, is_choice }) = claimed else {
                if Box::pin(self.await_return(tried)).await {
                    continue;
                }
                let absent = worker.edge.absent_beside(server, tried);
                let why = self.none_is_left();
                let refusal = absent.unwrap_or_else(|| std::mem::take(tried).refusal(server, &why));
                deciding.refused(&refusal.to_string());
                return Err(refusal);
            };
            let topology = worker.edge.topology.load_full();
            // The strategy may not know yet that a node has left or drains; where another worker
            // has bound the session, it may be open.
            let takes = |node: &Node| node.health.accepts() || (!is_choice && node.health.serves());
            let known = topology.node(&winner);
            let known = known.filter(|node| takes(node) && !tried.nodes.contains(&winner));
            let Some(node) = known else {
                // Or another worker has bound the session to a node that has refused already.
                self.give_up(&winner, tried);
                deciding.fails("the node has left, drains or has refused already");
                tried.nodes.push(winner);
                continue;
            };
            let by_plan = by_plan.as_ref().filter(|left| **left != node.id);
            worker.edge.planned_moves.keep(session.id, server, by_plan.cloned());
            let user = self.user_token();
            match self.open(node, handshake).await {
                Ok(opening) => {
                    if let Some(before) = before.filter(|before| *before != winner) {
                        self.leave_behind(before, opening.epoch);
                    }
                    deciding.opened(&node.id);
                    self.check_loss(&opening).await?;
                    return Ok(OpenServer {
                        node: Arc::clone(node),
                        result: opening.result,
                        token,
                    });
                }
                Err(why) if why.from == RefusedBy::Server && !has_refused_user => {
                    has_refused_user = true;
                    self.token_was_refused(user.as_ref(), &why.refused).await?;
                }
                Err(why) => {
                    if let Some(refusal) = why.ends_the_search(server) {
                        return Err(refusal);
                    }
                    self.report_refusal(node, &tried.nodes, &why.reason);
                    deciding.fails(&why.reason);
                    self.give_up(&winner, tried);
                    tried.failed(&winner, why);
                }
            }
        }
    }

    /// Binds the session where the strategy says, unless it is bound to another node than before.
    /// `None` if no node is left.
    ///
    /// # Errors
    /// If the session has ended at another coordinator.
    async fn claim(
        &self,
        message: &[u8],
        previous: Option<&NodeId>,
        tried: &Tried,
        deciding: &mut Deciding<'_>,
    ) -> Result<Option<Claimed>, Refusal> {
        let Some(Chosen { node, token }) = self.choose(message, &tried.nodes, deciding) else {
            return Ok(None);
        };
        let winner = self.bind_to(previous, &node, tried).await?;
        deciding.overtaken_by(&winner);
        let is_choice = winner == node;
        Ok(Some(Claimed { node: winner, token: token.filter(|_| is_choice), is_choice }))
    }

    /// Closes what the session has left at a node, unless it is younger than this.
    fn leave_behind(&self, node: NodeId, up_to: Option<Epoch>) {
        let (session, server) = (self.session.id, self.server.clone());
        LeftBehind { session, server, node, up_to }.close(self.worker);
    }

    /// Whether that node takes sessions of the server, and has not refused this one.
    fn is_taken_at(&self, node: &NodeId, tried: &[NodeId]) -> bool {
        let topology = self.worker.edge.topology.load();
        let node = topology.node(node).filter(|node| !tried.contains(&node.id));
        node.is_some_and(|node| node.health.accepts() && node.servers.contains_key(self.server))
    }

    /// The node that the session's server is bound to, if it drains or has said good-bye.
    fn left_by_plan(&self) -> Option<NodeId> {
        let edge = &self.worker.edge;
        let bound = edge.bindings.look(self.session.id, self.server)?;
        let topology = edge.topology.load();
        let node = topology.node(&bound)?;
        let has_gone = node.away.is_some_and(|away| away.how == Absence::GoodBye);
        (node.health == Health::Draining || has_gone).then_some(bound)
    }

    /// Why there is no node to bind the session to.
    fn none_is_left(&self) -> String {
        let topology = self.worker.edge.topology.load();
        let mut replicas = topology.replicas(self.server);
        match replicas.find(|node| node.health == Health::Draining) {
            Some(node) => {
                format!("node {} drains, and no other node that hosts it takes sessions", node.id)
            }
            None => "no node that hosts it is up".to_owned(),
        }
    }

    /// Opens the server at one node; if it is open there already, nothing happens. If it had to be
    /// opened although the session had it open before, its state is lost.
    pub async fn open(&self, node: &Node, handshake: Handshake) -> Result<NodeOpened, NotOpened> {
        if handshake == Handshake::Runner
            && let Some(plan) = self.state_plan()
        {
            return Box::pin(self.open_with_state(node, plan)).await;
        }
        let was_open = handshake == Handshake::Runner && self.was_open();
        let opened = self.open_at(node, handshake, None).await?;
        if handshake == Handshake::Runner && opened.start != Start::Existing {
            self.restore_settings(node, None).await;
        }
        let is_lost = opened.start == Start::Fresh && was_open;
        if is_lost {
            self.report_loss();
        }
        self.note_open(node, opened.epoch).await?;
        Ok(NodeOpened { result: opened.result, is_lost, epoch: opened.epoch })
    }

    /// Whether the session is known to have had the server open.
    pub(in crate::edge) fn was_open(&self) -> bool {
        let Self { worker, session, server, .. } = *self;
        session.is_single_server
            || worker.edge.bindings.was_open(session.id, server)
            || worker.edge.records.had_open(session.id, server)
    }

    /// Notes that the session has the server open at the node.
    ///
    /// # Errors
    /// If the session is at another node by now. What was opened is closed then.
    pub(in crate::edge) async fn note_open(
        &self,
        node: &Node,
        epoch: Option<Epoch>,
    ) -> Result<(), NotOpened> {
        let Self { worker, session, server, .. } = *self;
        let edge = &worker.edge;
        // After a restart, nobody is left to be told of the loss of a session that one request had.
        let is_told = !session.is_single_server && session.origin != Origin::Request;
        let is_local = node.reach == Reach::Local && is_told;
        if is_local && !edge.bindings.was_open(session.id, server) {
            Box::pin(edge.records.note_open(session.id, session.minted_at, server)).await;
        }
        if !edge.bindings.opened(session.id, server, &node.id, epoch) {
            Box::pin(self.tell(node, &Outgoing::delete())).await;
            let reason = "the session is at another node by now".to_owned();
            return Err(NotOpened { from: RefusedBy::Node, ..reason.into() });
        }
        edge.opened_servers.opened(session.id);
        Ok(())
    }

    /// Has the server opened at the node, and reads the `InitializeResult`. Nothing is noted.
    pub(in crate::edge) async fn open_at(
        &self,
        node: &Node,
        handshake: Handshake,
        state: Option<StateStep>,
    ) -> Result<OpenedAt, NotOpened> {
        let Self { worker, session, .. } = *self;
        let RunnerOpened { response, start, epoch } =
            self.ask_to_open(node, handshake, state).await?;
        let result = collect(response.into_body(), MAX_RESULT).await.map_err(|e| e.to_string())?;
        // A DELETE that arrived during the opening found nothing to end at this node.
        if worker.edge.records.is_ended(session.id) {
            let outgoing = Outgoing::delete();
            Box::pin(self.tell(node, &outgoing)).await;
            let reason = "the session has ended".to_owned();
            return Err(NotOpened { from: RefusedBy::Node, ..reason.into() });
        }
        Ok(OpenedAt { result, start, epoch })
    }

    /// Right after a start of the gateway, waits for a node of before it that has the server. True if
    /// one has come back.
    async fn await_return(&self, tried: &Tried) -> bool {
        let edge = &self.worker.edge;
        let accepts = || {
            let topology = edge.topology.load();
            let mut replicas = topology.replicas(self.server);
            let takes = |node: &Node| node.health.accepts() && !tried.nodes.contains(&node.id);
            replicas.any(|node| takes(node)).then_some(())
        };
        edge.cold_start.expects()
            && accepts().is_none()
            && edge.cold_start.until(accepts).await.is_some()
    }

    /// Opens the server again at the node that has lost the session, unless it takes no sessions
    /// now.
    pub async fn open_again(&self, node: &Node, tried: &mut Tried) -> Result<(), Refusal> {
        if !node.health.accepts() {
            tried.nodes.push(node.id.clone());
            return Ok(());
        }
        let Self { worker, session, server, .. } = *self;
        if !self.still_at(&node.id).await? {
            return Ok(());
        }
        worker.edge.planned_moves.keep(session.id, server, None);
        let user = self.user_token();
        match self.open(node, Handshake::Runner).await {
            Ok(opened) => self.check_loss(&opened).await,
            Err(why) if why.from == RefusedBy::Server => {
                self.token_was_refused(user.as_ref(), &why.refused).await
            }
            Err(why) => {
                if let Some(refusal) = why.ends_the_search(self.server) {
                    return Err(refusal);
                }
                self.report_refusal(node, &tried.nodes, &why.reason);
                tried.failed(&node.id, why);
                Ok(())
            }
        }
    }

    /// Restores the session's log level and subscriptions at a server that was just opened.
    pub(in crate::edge) async fn restore_settings(&self, node: &Node, state: Option<StateStep>) {
        let Self { worker, session, server, .. } = *self;
        // Its client may have set something by another coordinator.
        let _ = self.still_at(&node.id).await;
        let Some(record) = worker.edge.bindings.record(session.id) else { return };
        let level = record
            .log_level
            .map(|level| (methods::SET_LEVEL, format!("{{\"level\":{}}}", level.json())));
        // It may have been hidden since the client subscribed.
        let judge = worker.resource_judge(server, worker.set_of(session));
        let is_hidden = |uri: &str| judge.as_ref().is_some_and(|judge| judge.is_withheld(uri));
        let subscribed = record.subscriptions.iter().filter(|(owner, _)| owner == server);
        let subscribed = subscribed.filter(|(_, uri)| !is_hidden(uri));
        let subscriptions = subscribed
            .map(|(_, uri)| (methods::SUBSCRIBE, format!("{{\"uri\":{}}}", splice::quoted(uri))));
        for (method, params) in level.into_iter().chain(subscriptions) {
            let asking = self.ask_in(state, node, (method, &params), RESTORE_TIMEOUT);
            // A server without the feature refuses: then there is nothing to restore.
            if let Err(Silent) = asking.await {
                worker.edge.metrics.not_opened.warn(|| {
                    let session = session.id.short();
                    format!(
                        "server {server} did not answer when the settings of session {session} \
                         were restored"
                    )
                });
                return;
            }
        }
    }

    /// Logs that a node has refused the session, and whether another node is left. Refusals of
    /// this process's own runner are in the log already.
    pub fn report_refusal(&self, node: &Node, tried: &[NodeId], why: &str) {
        let Self { worker, session, server, .. } = *self;
        let topology = worker.edge.topology.load();
        let is_left = |other: &Node| {
            other.id != node.id && other.health.accepts() && !tried.contains(&other.id)
        };
        let (session, node_id) = (session.id.short(), &node.id);
        tracing::debug!(
            session = %session, node = %node_id, server = %server, "cannot open the server: {why}"
        );
        let goes_on = topology.replicas(server).any(|other| is_left(other));
        if !goes_on && node.reach == Reach::Local {
            return;
        }
        // Each message of a client can be refused.
        let Some(others) = worker.edge.metrics.not_opened.line() else { return };
        if goes_on {
            tracing::warn!(
                session = %session, node = %node_id, server = %server, others,
                "session affinity: cannot open there, the session goes on to another node: {why}"
            );
        } else {
            tracing::warn!(
                session = %session, node = %node_id, server = %server, others,
                "session affinity: cannot open there, and there is no other node: {why}"
            );
        }
    }
}
