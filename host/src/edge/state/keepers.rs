//! Which coordinators keep what sets the state of a session's servers. Each keeps what it has passed
//! on itself, so that one may lack what another has.

use crate::edge::delivery::call::Call;

impl Call<'_> {
    /// Lets the other coordinators know that this one keeps something, if they do not yet: before the
    /// call that sets state.
    pub(super) async fn join_keepers(&self) {
        let edge = &self.worker.edge;
        if edge.sharing.is_some() && !edge.bindings.is_keeper(self.session.id) {
            let _ = Box::pin(self.keeps_all()).await;
        }
    }

    /// Whether no other coordinator keeps anything, as far as that can be known.
    pub(super) async fn keeps_all(&self) -> bool {
        let Some(sharing) = &self.worker.edge.sharing else { return true };
        sharing.keeps_alone(self.session.id, self.session.minted_at).await
    }
}
