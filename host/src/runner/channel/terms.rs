//! What one session at one server may take, and for whom it counts.

use std::sync::Arc;

use crate::runner::remote::left_calls::LeftOfKey;
use crate::streams::{Bounds, KeptOfKey};

use super::error_counts::ErrorCounts;
use super::list_changes::OwnReadings;
use super::timeout::Timeouts;

/// The limits of one session at one server.
#[derive(Debug, Clone, Copy)]
pub struct SessionLimits {
    /// Longest line or event of a server, in bytes.
    pub line: usize,
    /// Requests in flight, at most.
    pub in_flight: usize,
    /// What is kept of one stream, for a client that comes back.
    pub kept: Bounds,
    /// Silence after which an event stream gets a keep-alive comment.
    pub keep_alive: std::time::Duration,
    pub timeouts: Timeouts,
}

/// The limits of a session, and the accounts of the one that it counts for.
#[derive(Debug, Clone)]
pub struct SessionTerms {
    pub limits: SessionLimits,
    /// What its streams keep.
    pub kept: Arc<KeptOfKey>,
    /// What it leaves running at a remote server.
    pub left: LeftOfKey,
    /// Whether it is a client's, who can be asked. The gateway answers in its own sessions.
    pub has_client: bool,
    /// Whether that client is asked in the answers to its requests alone, since it has no session.
    pub asks_in_calls: bool,
    /// When the gateway reads the server's lists.
    pub readings: Arc<OwnReadings>,
    /// The errors that its server's sessions of clients get.
    pub errors: Arc<ErrorCounts>,
}
