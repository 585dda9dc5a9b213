//! What is known of the session at a Streamable HTTP server.

use std::sync::{Arc, MutexGuard};

use http::StatusCode;
use tokio::sync::watch;

use crate::model::ServerName;
use crate::runner::channel::mailbox::Mailbox;
use crate::runner::channel::pipe::SessionLimits;
use crate::sync::{Locked, Signal};

use super::errors;
use super::upstream::UpstreamClient;

/// What the session's tasks share.
pub struct UpstreamSession {
    pub server: ServerName,
    pub rules: SessionLimits,
    pub caller: UpstreamClient,
    /// Whether the upstream has given the session an id; some have none.
    pub(super) has_session: bool,
    pub(super) primes: bool,
    pub(super) mailbox: Locked<Mailbox>,
    pub(super) lost: watch::Sender<Option<Arc<str>>>,
    pub list_changes: watch::Sender<u32>,
    pub closing: Signal,
    pub(super) is_heard: std::sync::atomic::AtomicBool,
    /// Becomes true when the upstream's own stream is read, or found missing.
    pub heard: Signal,
}

impl UpstreamSession {
    pub fn mailbox(&self) -> MutexGuard<'_, Mailbox> {
        self.mailbox.lock()
    }

    /// The upstream has no such session any more: what it was to answer is answered
    /// here, and who listens learns that there is nothing more to hear.
    pub fn forget(&self) {
        let text = format!("server {} has forgotten the session", self.server);
        self.mailbox().end(&text);
        self.lost.send_replace(Some(text.into()));
        self.closing.raise();
    }

    /// Whether a response says so.
    pub fn is_forgotten_by(&self, status: StatusCode, text: &[u8]) -> bool {
        self.has_session && errors::is_lost(status, text)
    }
}
