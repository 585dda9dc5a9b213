//! A drain's rounds: each lets the sessions go that the policy does not keep.
//!
//! A session that leaves is closed here, and nobody is told: its next message is answered
//! `unknown-session`, and the edge opens it at another node. Between two rounds a session in use is
//! caught where its next message comes (`session/table.rs`), since its quiet point may be short.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::model::ServerName;
use crate::net::Pool;
use crate::runner::session::table::HandOn;
use crate::runner::shared::SharedRunner;
use crate::sync::now;

use super::drain_policy::{DrainClock, SessionFacts, StayCounts, reason_to_stay};

/// One round of a drain.
pub struct DrainRound<'a> {
    pub began: Instant,
    pub clock: DrainClock,
    /// Servers that no other node runs.
    pub only_here: &'a BTreeSet<ServerName>,
}

impl SharedRunner {
    /// Lets go what leaves now, and counts what stays.
    pub fn drain(&self, round: &DrainRound<'_>, pool: &Pool) -> StayCounts {
        let DrainRound { began, clock, only_here } = round;
        self.table.hand_on(
            clock.hands_on().then(|| HandOn { since: *began, kept: (*only_here).clone() }),
        );
        let mut counts = StayCounts::default();
        let leaving = self.table.take_leaving(|(_, server), facts, last_called| {
            let facts = SessionFacts {
                is_last_replica: only_here.contains(server),
                is_used: last_called > *began,
                ..facts
            };
            let stay = reason_to_stay(&facts, clock);
            stay.into_iter().for_each(|stay| counts.add(stay));
            stay.is_none()
        });
        for ((session, server), instance) in leaving {
            tracing::debug!(session = %session.short(), server = %server, "leaves: this node drains");
            let pool = pool.clone();
            tokio::spawn(async move { instance.close(&pool).await });
        }
        counts
    }

    /// Keeps sessions again.
    pub fn end_drain(&self) {
        self.table.hand_on(None);
    }

    /// What is under way now, and how many of it have been for longer than `age`.
    #[must_use]
    pub fn under_way(&self, age: std::time::Duration) -> (usize, usize) {
        let (mut all, mut long) = (0, 0);
        let now = now();
        self.table.each(|facts, last_called| {
            if facts.is_working || facts.is_asked {
                all += 1;
                long += usize::from(now.saturating_duration_since(last_called) > age);
            }
        });
        (all, long)
    }
}
