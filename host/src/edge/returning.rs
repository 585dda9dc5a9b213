//! After a start: waiting for the nodes that hold sessions from before it.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::model::UnixMillis;

/// A session minted before the start may be held by a node that has not
/// reported yet; opening it elsewhere would lose its state.
#[derive(Debug, Clone)]
pub struct Returning {
    started_at: UnixMillis,
    deadline: Instant,
    /// Whether nodes are known that may return.
    expected: bool,
    all_reported: watch::Receiver<bool>,
}

impl Returning {
    /// Waits at most `patience`, or until the sender says that all have
    /// reported.
    #[must_use]
    pub fn new(patience: Duration, expected: bool, all_reported: watch::Receiver<bool>) -> Self {
        let deadline = Instant::now() + patience;
        Self { started_at: UnixMillis::now(), deadline, expected, all_reported }
    }

    /// Nobody is waited for.
    #[must_use]
    pub fn nobody() -> Self {
        Self::new(Duration::ZERO, false, watch::channel(true).1)
    }

    #[must_use]
    pub fn concerns(&self, minted_at: UnixMillis) -> bool {
        minted_at < self.started_at && self.is_under_way()
    }

    /// Whether somebody may return who was here before the start.
    #[must_use]
    pub fn expects(&self) -> bool {
        self.expected && self.is_under_way()
    }

    #[must_use]
    pub fn is_under_way(&self) -> bool {
        !*self.all_reported.borrow() && Instant::now() < self.deadline
    }

    pub async fn wait(&self) {
        let mut reported = self.all_reported.clone();
        let all = reported.wait_for(|all| *all);
        // Either is the end of waiting; a dropped sender too.
        let _ = tokio::time::timeout_at(self.deadline, all).await;
    }
}
