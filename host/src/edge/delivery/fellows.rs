//! What a delivery asks of the store that several coordinators share. Never on the way of a call
//! whose server is bound and open: only where one is bound, opened, or found to be gone.

use std::time::Duration;

use tokio::time::Instant;

use crate::edge::refusal::Refusal;
use crate::model::NodeId;
use crate::store::sharing::Holder;

use super::call::Call;
use super::tried::Tried;

/// Longest wait for a node that another coordinator knows and this one is about to call.
const MEET: Duration = Duration::from_secs(2);
/// Pause between two looks for it.
const LOOK: Duration = Duration::from_millis(10);

impl Call<'_> {
    /// Binds the server to `node` unless it was bound meanwhile. Returns the node that it is bound
    /// to.
    ///
    /// # Errors
    /// If the session has ended at another coordinator.
    pub async fn bind_to(
        &self,
        previous: Option<&NodeId>,
        node: &NodeId,
        tried: &Tried,
    ) -> Result<NodeId, Refusal> {
        let Self { worker, session, server, .. } = *self;
        let edge = &worker.edge;
        let Some(sharing) = &edge.sharing else {
            return Ok(edge.bindings.claim(session.id, server, previous, node));
        };
        // While the client has no id, nobody else can know the session.
        let (seen, is_news) = ((previous, tried.seen), session.has_id);
        let claiming = sharing.claim(session.id, server, seen, node, is_news);
        match claiming.await {
            Holder::Node(winner) => {
                self.meet(&winner).await;
                Ok(winner)
            }
            Holder::Ended => Err(Refusal::UnknownSession),
        }
    }

    /// Gives up the binding to a node that has refused the session.
    pub fn give_up(&self, node: &NodeId, tried: &mut Tried) {
        let Self { worker, session, server, .. } = *self;
        let bindings = &worker.edge.bindings;
        tried.seen = tried.seen.max(bindings.epoch(session.id, server));
        bindings.release(session.id, server, node);
    }

    /// Learns what other coordinators have done with the session. Returns whether it is still bound
    /// to this node.
    ///
    /// # Errors
    /// If the session has ended at another coordinator.
    pub async fn still_at(&self, node: &NodeId) -> Result<bool, Refusal> {
        let Self { worker, session, server, .. } = *self;
        let Some(sharing) = &worker.edge.sharing else { return Ok(true) };
        if !sharing.refresh(session.id).await {
            return Err(Refusal::UnknownSession);
        }
        let bound = worker.edge.bindings.look(session.id, server);
        Ok(bound.is_none_or(|bound| bound == *node))
    }

    /// Waits for a node that another coordinator has bound the session to and that this one does not
    /// know yet.
    pub async fn meet(&self, node: &NodeId) {
        let edge = &self.worker.edge;
        let Some(sharing) = &edge.sharing else { return };
        let is_known = || edge.topology.load().node(node).is_some();
        if is_known() {
            return;
        }
        sharing.ask_for(node);
        let deadline = Instant::now() + MEET;
        while !is_known() && Instant::now() < deadline {
            tokio::time::sleep(LOOK).await;
        }
    }
}
