//! Delivers the client's messages to a server whose state comes along.

use std::sync::Arc;

use http::Method;

use crate::edge::delivery::call::Call;
use crate::edge::delivery::deliver::Delivered;
use crate::edge::delivery::outgoing::Outgoing;
use crate::edge::refusal::Refusal;
use crate::model::StatePlan;
use crate::seam::StateStep;
use crate::store::StateLog;

use super::follow::follow;

impl Call<'_> {
    /// Notes a message that passes unread, before it is sent: its client is told that something may be
    /// missing once the state is brought back.
    pub async fn note_unread(&self) {
        let Self { worker, session, server, .. } = *self;
        if self.state_plan().is_none() {
            return;
        }
        worker.edge.state.states.load(session.id).await;
        self.join_keepers().await;
        worker.edge.state.states.change(session.id, server, StateLog::note_unread);
    }

    /// Delivers a message, and keeps what sets the server's state once it is answered.
    ///
    /// # Errors
    /// As `deliver`.
    pub async fn deliver_tracked(
        &self,
        outgoing: &Outgoing,
        plan: Arc<StatePlan>,
    ) -> Result<Delivered, Refusal> {
        if outgoing.method != Method::POST {
            return self.deliver_plainly(outgoing).await;
        }
        self.worker.edge.state.states.load(self.session.id).await;
        self.save_before_leaving(&plan).await;
        let mut tracked = self.tracked(outgoing, plan).await;
        let outgoing = match tracked.is_to_be_saved() {
            true => &Outgoing { state: Some(StateStep::Change), ..outgoing.clone() },
            false => outgoing,
        };
        match self.deliver_plainly(outgoing).await {
            Ok(delivered) => {
                Ok(Delivered { response: follow(delivered.response, tracked), ..delivered })
            }
            // It may have run: that is noted when this is dropped.
            Err(refusal @ Refusal::Lost { .. }) => Err(refusal),
            Err(refusal) => {
                tracked.give_up();
                Err(refusal)
            }
        }
    }
}
