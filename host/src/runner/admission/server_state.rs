//! What operators see and hear of a server's starts.

use std::sync::Arc;
use std::time::Duration;

use crate::model::ServerName;

use super::backoff::{Pause, ServerStatus};

/// What operators see of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerState {
    pub status: ServerStatus,
    /// Whether its last start has failed, and none has succeeded since. A first failure does not
    /// count: the next start follows at once.
    pub is_failing: bool,
    /// Why the gateway itself could not reach it, if it is elsewhere, and nobody has since.
    pub unreached: Option<Arc<str>>,
    /// Failures since it was last known to be well.
    pub failures: u32,
    /// Time until the next attempt may be made; `None` if it may be made now.
    pub next_attempt: Option<Duration>,
    pub last_error: Option<Arc<str>>,
    pub restarts: u64,
    /// Instances ended at a quiet point for their age or memory.
    pub recycled: u64,
    /// Processes of sessions.
    pub processes: usize,
    /// Processes that wait for a session.
    pub spares: usize,
    /// The last stderr lines of the process that died last.
    pub last_words: Vec<String>,
    /// What is wrong with what the server answers, although it runs.
    pub flaws: Vec<String>,
}

/// Says that a server has failed: the one line about it. Sessions that could not be opened, and lists
/// that could not be read, follow from that.
pub fn say(server: &ServerName, pause: Option<Pause>, error: &str) {
    let Some(Pause { left, failures, is_crash_loop, last_error }) = pause else {
        tracing::warn!(server = %server, failures = 1, "the server has failed, and may be started again at once: {error}");
        return;
    };
    let next_ms = left.as_millis();
    if is_crash_loop {
        tracing::error!(server = %server, failures, next_ms, "the server is in a crash loop: {last_error}");
    } else {
        tracing::warn!(server = %server, failures, next_ms, "the server has failed, and its next start has to wait: {last_error}");
    }
}

/// A random number from 0 to 1. Without a source of randomness it is 1: pauses then
/// have no jitter.
#[must_use]
pub fn chance() -> f64 {
    let mut byte = [0];
    match getrandom::fill(&mut byte) {
        Ok(()) => f64::from(byte[0]) / 255.0,
        Err(_) => 1.0,
    }
}
