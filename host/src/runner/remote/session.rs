//! The state of one session at a Streamable HTTP server.

use std::sync::{Arc, MutexGuard};

use http::StatusCode;
use tokio::sync::watch;

use crate::model::ServerName;
use crate::runner::channel::error_counts::ErrorCounts;
use crate::runner::channel::list_changes::ListChanges;
use crate::runner::channel::mailbox::Mailbox;
use crate::runner::channel::terms::SessionLimits;
use crate::sync::{Locked, Signal};

use super::errors;
use super::left_calls::LeftOfKey;
use super::upstream::UpstreamClient;

/// The state that a session's tasks share.
pub struct UpstreamSession {
    pub server: ServerName,
    pub rules: SessionLimits,
    pub client: UpstreamClient,
    /// What it leaves running without a client.
    pub left: LeftOfKey,
    /// Errors that clients got from it.
    pub errors: Arc<ErrorCounts>,
    /// Whether its client has no session, and so no GET stream.
    pub(super) asks_in_calls: bool,
    /// Whether the upstream has given the session an id; some do not.
    pub(super) has_session: bool,
    pub(super) primes: bool,
    pub(super) mailbox: Locked<Mailbox>,
    pub(super) lost: watch::Sender<Option<Arc<str>>>,
    pub list_changes: ListChanges,
    pub closing: Signal,
    /// Whether the upstream has ended the session while nothing of the client's was under way.
    pub(super) is_quiet: std::sync::atomic::AtomicBool,
    pub(super) is_heard: std::sync::atomic::AtomicBool,
    /// Raised once the upstream has answered the first GET, with a stream or without.
    pub heard: Signal,
}

impl UpstreamSession {
    pub fn mailbox(&self) -> MutexGuard<'_, Mailbox> {
        self.mailbox.lock()
    }

    /// The upstream no longer has the session: answers its requests in flight with an error and
    /// ends its streams.
    pub fn forget(&self) {
        let text = format!("server {} has forgotten the session", self.server);
        // What the gateway reads for itself is read again: nothing of the client's was lost.
        let is_quiet = !self.mailbox().works_for_client();
        self.is_quiet.store(is_quiet, std::sync::atomic::Ordering::Release);
        // First that it is lost: whoever sees a stream end looks for the next instance at once, and must
        // not find this one.
        self.lost.send_replace(Some(text.as_str().into()));
        self.mailbox().end(&text);
        self.closing.raise();
    }

    /// Whether a response means that the upstream has lost the session, or has none any more.
    pub fn is_forgotten_by(&self, status: StatusCode, text: &[u8]) -> bool {
        (self.has_session && errors::is_lost(status, text))
            || errors::is_of_no_session(status, text)
    }
}
