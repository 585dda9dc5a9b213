//! Saves the state of a server: at once after a call that may have changed it, if no other request
//! is under way and the last saving is long enough ago; else as soon as both hold. So a process that
//! is killed without a warning loses what changed within `everyMs`, or while it was never quiet. To
//! save before each answer would make every call as slow as a saving; to save at planned ends alone
//! would not help a process that is killed.
//!
//! At a node that drains nothing waits for `everyMs`, and what has changed is saved before the
//! client's next message, with which the session may go on elsewhere. The runner keeps an instance
//! until that is done (`runner/session/unsaved.rs`).

use std::sync::Arc;
use std::time::Duration;

use crate::edge::delivery::call::Call;
use crate::edge::session::client_session::Session;
use crate::edge::worker::Worker;
use crate::model::{Health, Node, Saving, ServerName, StateAction, StatePlan, UnixMillis};
use crate::seam::StateStep;
use crate::store::SavedState;

use super::activity::ActivityKey;
use super::arguments;
use super::steps::StepResult;

/// Saves the server's state as soon as it may be, unless that is under way.
pub fn schedule(worker: &Worker, session: &Session, server: &ServerName) {
    let key: ActivityKey = (session.id, server.clone());
    if !worker.edge.state.activity.begin_saving(&key) {
        return;
    }
    let (worker, session) = (worker.clone(), session.clone());
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        worker.edge.state.activity.end_saving(&key);
        return;
    };
    runtime.spawn(async move {
        let call = Call::own(&worker, &session, &key.1);
        let activity = &worker.edge.state.activity;
        loop {
            let goes_on = call.save_when_due(&key).await;
            activity.end_saving(&key);
            // What came between the two: its own call of this has found the saving under way.
            if !goes_on || !call.is_unsaved() || !activity.begin_saving(&key) {
                return;
            }
        }
    });
}

impl Call<'_> {
    /// False if nothing more is to be saved.
    async fn save_when_due(&self, key: &ActivityKey) -> bool {
        let Some(plan) = self.state_plan() else { return false };
        let Some(saving) = &plan.saving else { return false };
        let edge = &self.worker.edge;
        edge.state.activity.due(key, saving.every, || self.is_leaving()).await;
        if edge.records.is_ended(self.session.id) {
            return false;
        }
        let saved = self.save_state(&plan).await;
        edge.state.activity.note_saved(key);
        match saved {
            Ok(()) => true,
            Err(why) => {
                edge.metrics.state_failed();
                let (session, server) = (self.session.id.short(), self.server);
                edge.metrics.not_saved.warn(|| {
                    format!("server {server} did not save the state of session {session}: {why}")
                });
                // The next call that changes something tries again.
                false
            }
        }
    }

    /// Saves what has changed at a node that drains, before a message of the client.
    pub(super) async fn save_before_leaving(&self, plan: &StatePlan) {
        let activity = &self.worker.edge.state.activity;
        if plan.saving.is_none()
            || !activity.any_drains()
            || !self.is_unsaved()
            || !self.is_leaving()
        {
            return;
        }
        schedule(self.worker, self.session, self.server);
        let key = (self.session.id, self.server.clone());
        let _ = tokio::time::timeout(plan.timeout, activity.saved(&key)).await;
    }

    /// Whether the session has the server open at a node that drains.
    fn is_leaving(&self) -> bool {
        self.open_node().is_some_and(|node| node.health == Health::Draining)
    }

    fn is_unsaved(&self) -> bool {
        let states = &self.worker.edge.state.states;
        states.look(self.session.id, self.server, |log| log.is_unsaved()) == Some(true)
    }

    /// Saves the server's state now, if it has changed since the last saving.
    ///
    /// # Errors
    /// Why it was not saved; what was saved before is kept.
    pub async fn save_state(&self, plan: &Arc<StatePlan>) -> Result<(), String> {
        let Some(saving) = &plan.saving else { return Ok(()) };
        if !self.is_unsaved() {
            return Ok(());
        }
        let states = &self.worker.edge.state.states;
        let node = self.open_node().ok_or("the session does not have it open")?;
        let at = UnixMillis::now();
        let mark = states.change(self.session.id, self.server, |log| log.mark());
        let (bytes, is_result) = match self.save_step(&node, plan.timeout, saving).await? {
            (StepResult::Done(bytes), is_result) => (bytes, is_result),
            (StepResult::Failed(why) | StepResult::NodeLost(why), _) => return Err(why),
            (StepResult::ServerLost, _) => return Err("it has ended".to_owned()),
        };
        if bytes.len() > plan.most_bytes {
            return Err(format!("its state is larger than {} bytes (maxBytes)", plan.most_bytes));
        }
        if self.worker.edge.records.is_ended(self.session.id) {
            return Ok(());
        }
        let saved = SavedState { bytes, is_result, at };
        states.change(self.session.id, self.server, |log| log.save(saved, mark));
        self.worker.edge.metrics.state_saved();
        Ok(())
    }

    /// The node where the session has the server open. Does not count as use.
    fn open_node(&self) -> Option<Arc<Node>> {
        let edge = &self.worker.edge;
        let topology = edge.topology.load();
        let node = topology.node(&edge.bindings.look(self.session.id, self.server)?)?;
        node.health.serves().then(|| Arc::clone(node))
    }

    async fn save_step(
        &self,
        node: &Node,
        patience: Duration,
        saving: &Saving,
    ) -> Result<(StepResult, bool), String> {
        Ok(match &saving.save {
            StateAction::Command => {
                let input = bytes::Bytes::new();
                (self.program_step(StateStep::Save, node, input, patience).await, false)
            }
            StateAction::Tool { name, arguments } => {
                let session = self.session.id.to_string();
                let params = arguments::call_of(name, arguments, &session, None)?;
                (self.tool_step(StateStep::SaveCall, node, &params, patience).await, true)
            }
        })
    }
}
