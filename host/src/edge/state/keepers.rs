//! Which coordinators keep what sets the state of a session's servers. Each keeps what it has passed
//! on itself, and takes over what the others have before it brings the state back.

use crate::edge::delivery::call::Call;
use crate::store::OthersLogs;

impl Call<'_> {
    /// Lets the other coordinators know that this one keeps something, if they do not yet: before the
    /// call that sets state.
    pub(super) async fn join_keepers(&self) {
        let edge = &self.worker.edge;
        if let Some(sharing) = &edge.sharing
            && !edge.bindings.is_keeper(self.session.id)
        {
            Box::pin(sharing.join_keepers(self.session.id)).await;
        }
    }

    /// What other coordinators keep of the server's state. `None` if there may be more than can be
    /// known.
    pub(super) async fn kept_elsewhere(&self) -> Option<OthersLogs> {
        let (session, states) = (self.session, &self.worker.edge.state.states);
        states.logs_of_others(session.id, session.minted_at, self.server).await
    }
}
