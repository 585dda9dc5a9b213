//! Why a server was not opened for a session. In each case nothing of the
//! client's was sent to it: another node may try.

use std::time::Duration;

use crate::model::ServerName;

use super::backoff::Pause;
use super::caps::Full;

#[derive(Debug, Clone, thiserror::Error)]
pub enum OpenError {
    #[error("server {server} is misconfigured: {reason}")]
    Misconfigured { server: ServerName, reason: String },
    #[error("server {server}: {reason}")]
    Start { server: ServerName, reason: String },
    #[error("server {server} did not answer initialize within {} (startTimeoutMs)", in_seconds(*.patience))]
    Silent { server: ServerName, patience: Duration },
    #[error("server {server}: {full}")]
    Full { server: ServerName, full: Full },
    #[error(
        "server {server} {} ({} failed starts; the last: {}); next attempt in {}",
        if .pause.is_crash_loop { "is in a crash loop" } else { "has failed" },
        .pause.failures, .pause.last_error, in_seconds(.pause.left)
    )]
    Paused { server: ServerName, pause: Pause },
    #[error(
        "server {server}: {at_once} servers are being started at the same time, and it has waited \
         {} for its turn (limits.simultaneousStarts)",
        in_seconds(TURN)
    )]
    Crowded { server: ServerName, at_once: usize },
    #[error("server {server} refused initialize: {reason}")]
    Refused { server: ServerName, reason: String },
}

impl OpenError {
    /// When it may be worth another try, where that is known.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        /// Processes end when their sessions do: nobody knows when that is.
        const FULL: Duration = Duration::from_secs(5);
        match self {
            Self::Paused { pause, .. } => Some(pause.left),
            Self::Full { .. } | Self::Crowded { .. } => Some(FULL),
            Self::Misconfigured { .. }
            | Self::Start { .. }
            | Self::Silent { .. }
            | Self::Refused { .. } => None,
        }
    }
}

/// For people: not more exact than it matters.
fn in_seconds(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{} ms", duration.as_millis()),
        1..10 => format!("{:.1} s", duration.as_secs_f64()),
        whole => format!("{whole} s"),
    }
}

/// Longest wait for a turn.
pub const TURN: Duration = Duration::from_secs(60);
