//! Callers that have not proved to be this node's coordinator, and when the log tells of them.
//!
//! A coordinator that has not heard yet that the node was started again proves itself to the start of
//! before. With the node's registration that is over, so until then it is told only if it lasts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sync::{Locked, Seldom, now};

use super::membership::Memberships;

/// How long wrong proofs may come before they are told of, while the node is not registered.
const LASTS: Duration = Duration::from_secs(10);

/// The lines about wrong proofs.
pub struct UnprovedCallers {
    memberships: Arc<Memberships>,
    lines: Seldom,
    /// When the first came since the node was registered last.
    first: Locked<Option<Instant>>,
}

impl UnprovedCallers {
    #[must_use]
    pub fn new(memberships: &Arc<Memberships>) -> Self {
        Self {
            memberships: Arc::clone(memberships),
            lines: Seldom::default(),
            first: Locked::default(),
        }
    }

    /// Tells of a caller, or holds that back.
    pub fn note(&self, text: impl FnOnce() -> String) {
        match self.is_to_be_told() {
            true => self.lines.warn(text),
            false => tracing::debug!("{}", text()),
        }
    }

    fn is_to_be_told(&self) -> bool {
        let mut first = self.first.lock();
        if self.memberships.are_complete() {
            *first = None;
            return true;
        }
        let (now, began) = (now(), *first);
        let began = began.unwrap_or(now);
        *first = Some(began);
        now.saturating_duration_since(began) >= LASTS
    }
}

#[cfg(test)]
mod tests {
    use super::super::membership::Joined;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn before_the_registration_a_wrong_proof_is_told_only_if_more_come() {
        let all = Memberships::new(2);
        let (one, other) = (all.with(0), all.with(1));
        let callers = UnprovedCallers::new(&all);
        one.set(Joined::Registered);
        other.set(Joined::Registering);
        assert!(!callers.is_to_be_told());
        tokio::time::advance(LASTS / 2).await;
        assert!(!callers.is_to_be_told());
        tokio::time::advance(LASTS / 2).await;
        assert!(callers.is_to_be_told());
        other.set(Joined::Registered);
        assert!(callers.is_to_be_told());
        one.set(Joined::Registering);
        assert!(!callers.is_to_be_told(), "the coordinator has gone, and may know nothing yet");
    }
}
