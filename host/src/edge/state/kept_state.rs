//! What all workers share of sessions' state.

use std::sync::Arc;
use std::time::Duration;

use crate::edge::session::last_start::LastStarts;
use crate::model::StatePlan;
use crate::store::{LogBounds, SessionStates};

use super::activity::Activity;
use super::outcome::Restored;
use super::turns::RestorationTurns;

/// The kept states, and what is being done with them.
pub struct KeptState {
    pub states: Arc<SessionStates>,
    pub(in crate::edge) activity: Activity,
    /// What became of the state at the last start; nothing where nothing was known of it.
    pub(in crate::edge) outcomes: LastStarts<Arc<Restored>>,
    pub(in crate::edge) turns: RestorationTurns,
}

impl KeptState {
    #[must_use]
    pub fn new(states: Arc<SessionStates>) -> Self {
        Self {
            states,
            activity: Activity::default(),
            outcomes: LastStarts::default(),
            turns: RestorationTurns::default(),
        }
    }

    /// Notes whether any node drains: what its sessions have changed is saved before they leave.
    pub fn note_drains(&self, any_drains: bool) {
        self.activity.note_drains(any_drains);
    }

    /// Saves what waits for its time at the next quiet points: instances are about to be replaced.
    pub fn save_soon(&self) {
        self.activity.save_soon();
    }

    /// Saves what waits for its time at the next quiet points within a time, and no others after
    /// them: another process may be about to serve the sessions.
    pub async fn save_now(&self, patience: Duration) {
        self.save_all(patience).await;
        self.activity.hurry_no_more();
    }

    /// Saves what has changed since it was last saved, at the next quiet points within a time:
    /// before the servers end.
    pub async fn save_all(&self, patience: Duration) {
        let _ = tokio::time::timeout(patience, self.activity.save_all()).await;
    }
}

/// The bounds of a log by its server's plan.
#[must_use]
pub fn bounds(plan: &StatePlan) -> LogBounds {
    let (calls, age) = match &plan.replay {
        Some(replay) => (replay.most_calls, replay.max_age),
        None => (0, Duration::ZERO),
    };
    LogBounds { calls, bytes: plan.most_bytes, age }
}
