//! Why a session could not be opened at a server. No call of the client has reached
//! the server in any of these cases, so another node may try.

use std::time::Duration;

use crate::model::ServerName;
use crate::seam::UserTokenRefused;

use super::backoff::Pause;
use super::process_limits::Full;

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
        "server {server} waited {} for its turn to start: {at_once} servers are being started at \
         the same time (limits.simultaneousStarts)",
        in_seconds(TURN)
    )]
    Crowded { server: ServerName, at_once: usize },
    #[error("server {server} takes no session now: {reason}")]
    Busy { server: ServerName, reason: String, after: Duration },
    /// The status, where the metadata is, and what to do.
    #[error("server {server} needs OAuth {reason}")]
    NeedsOauth { server: ServerName, reason: String },
    /// There is no access token for it, or it does not take the one that there is.
    #[error("server {server}: {reason}")]
    NoToken { server: ServerName, reason: String, after: Duration },
    /// It does not take the token of the client's user.
    #[error("server {server} {refused}")]
    UserToken { server: ServerName, refused: UserTokenRefused },
    #[error("server {server} refused initialize: {reason}")]
    Refused { server: ServerName, reason: String },
}

/// When a machine that is short of something may have it again.
const SHORT: Duration = Duration::from_secs(5);

impl OpenError {
    /// This process or machine lacks what a start takes.
    #[must_use]
    pub fn short(server: ServerName, reason: String) -> Self {
        Self::Busy { server, reason, after: SHORT }
    }

    /// Whether it is a start that has failed, or follows from one.
    #[must_use]
    pub fn is_failed_start(&self) -> bool {
        matches!(self, Self::Start { .. } | Self::Silent { .. } | Self::Paused { .. })
    }

    /// Whether it is for want of a token that the server takes.
    #[must_use]
    pub fn wants_token(&self) -> bool {
        matches!(self, Self::NeedsOauth { .. } | Self::NoToken { .. } | Self::UserToken { .. })
    }

    /// After how long another attempt may succeed, where that is known.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        /// A guess: a process ends when its session does, which cannot be predicted.
        const FULL: Duration = Duration::from_secs(5);
        match self {
            Self::Paused { pause, .. } => Some(pause.left),
            Self::Busy { after, .. } | Self::NoToken { after, .. } => Some(*after),
            Self::Full { .. } | Self::Crowded { .. } => Some(FULL),
            Self::Misconfigured { .. }
            | Self::Start { .. }
            | Self::Silent { .. }
            | Self::NeedsOauth { .. }
            | Self::UserToken { .. }
            | Self::Refused { .. } => None,
        }
    }
}

/// A duration for people, rounded.
fn in_seconds(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{} ms", duration.as_millis()),
        1..10 => format!("{:.1} s", duration.as_secs_f64()),
        whole => format!("{whole} s"),
    }
}

/// Longest wait of a start for its turn.
pub const TURN: Duration = Duration::from_secs(60);
