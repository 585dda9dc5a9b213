//! The limits on sessions, and what has happened at them.

use crate::sync::LimitCounts;

/// Most sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MostSessions {
    /// Of one key.
    pub per_key: usize,
    /// Of all keys.
    pub in_all: usize,
}

impl Default for MostSessions {
    fn default() -> Self {
        Self { per_key: 10_000, in_all: 100_000 }
    }
}

/// What has happened at the limits here.
#[derive(Debug)]
pub struct SessionLimitsMet {
    pub per_key: LimitCounts,
    pub in_all: LimitCounts,
    pub subscriptions: LimitCounts,
    /// Clients that listen without a session.
    pub listened: LimitCounts,
    /// Requests of HTTP+SSE that wait for their answers.
    pub posted: LimitCounts,
}

impl Default for SessionLimitsMet {
    fn default() -> Self {
        Self {
            per_key: LimitCounts::new("sessionsPerPrincipal"),
            in_all: LimitCounts::new("sessions"),
            subscriptions: LimitCounts::new("subscriptions"),
            listened: LimitCounts::new("listeners"),
            posted: LimitCounts::new("posted"),
        }
    }
}
