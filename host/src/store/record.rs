//! What is known of one session: the node of each of its servers, and what the
//! client has set.

use std::sync::Arc;

use crate::model::{Epoch, Epochs, NodeId, ServerName, UnixMillis};
use crate::protocol::log_level::LogLevel;

use super::limits::quotas::Counted;

/// The node that serves one server of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    pub node: NodeId,
    /// When the node was chosen or, as it reports, opened the server.
    pub since: UnixMillis,
    pub last_used: UnixMillis,
    /// When this process learned of it.
    pub known_since: UnixMillis,
    /// Whether this process chose the node. A choice outranks the report of another
    /// node, which may come back with an old instance of the session.
    pub decided_here: bool,
    /// Whether the session has had the server open, on this node or an earlier one.
    pub was_open: bool,
    /// Rises with each binding of the session's server. `None` if a node of an earlier version has
    /// reported it.
    pub epoch: Option<Epoch>,
    /// The epoch of the instance that the session had open last, here or elsewhere.
    pub opened: Option<Epoch>,
}

impl Binding {
    /// A choice that this process makes now; the server is not open yet. `before` is what is known
    /// of the session's earlier instances.
    #[must_use]
    pub fn decided(node: &NodeId, now: UnixMillis, epoch: Epoch, before: Before) -> Self {
        Self {
            node: node.clone(),
            since: now,
            last_used: now,
            known_since: now,
            decided_here: true,
            was_open: before.was_open,
            epoch: Some(epoch),
            opened: before.opened,
        }
    }

    /// Whether an instance of before may still be at the node: the runner has to close that one,
    /// or to say that it is the current one, before it gets a message.
    #[must_use]
    pub fn must_open(&self) -> bool {
        self.opened.is_some() && self.opened != self.epoch
    }

    /// What an open says of this binding.
    #[must_use]
    pub fn epochs(&self) -> Epochs {
        Epochs { given: self.epoch, opened: self.opened }
    }

    /// What a later binding has to know of this one.
    #[must_use]
    pub fn before(&self) -> Before {
        Before { was_open: self.was_open, opened: self.opened }
    }
}

/// What is known of a session's instances of one server when it is bound anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Before {
    pub was_open: bool,
    pub opened: Option<Epoch>,
}

/// Everything known of one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub created: UnixMillis,
    pub last_used: UnixMillis,
    /// At most one binding for each server.
    pub servers: Vec<(ServerName, Binding)>,
    /// Servers that have been open and are bound to no node at present, with the epoch that was
    /// open last.
    pub gone: Vec<(ServerName, Option<Epoch>)>,
    /// Servers whose state was lost while the client had no stream open; it is
    /// notified on the next one.
    pub unreported_losses: Vec<ServerName>,
    /// The level that the client set with `logging/setLevel`.
    pub log_level: Option<LogLevel>,
    /// Resources that the client subscribed to: each server with its own URI.
    pub subscriptions: Vec<(ServerName, Arc<str>)>,
    /// Cloned by every stream that is open: a session with a clone is in use.
    pub in_use: Arc<()>,
    /// How the session is counted; `None` if it is not.
    pub counted: Option<Counted>,
    /// Whether all that other coordinators know of the session is known here.
    pub is_learned: bool,
    /// Whether other coordinators know of something that the client has set.
    pub has_settings: bool,
    /// Whether other coordinators know that this one keeps what sets the state of its servers.
    pub is_keeper: bool,
}

impl Record {
    /// Bytes of the URIs that the session is subscribed to.
    pub(super) fn subscribed(&self) -> usize {
        self.subscriptions.iter().map(|(_, uri)| uri.len()).sum()
    }

    /// Adds the binding of a server that has none. Most sessions have one server: a vector would
    /// begin with room for four.
    pub(super) fn bind(&mut self, server: &ServerName, binding: Binding) {
        self.servers.reserve_exact(1);
        self.servers.push((server.clone(), binding));
    }

    #[must_use]
    pub fn new(now: UnixMillis) -> Self {
        Self {
            created: now,
            last_used: now,
            servers: Vec::new(),
            gone: Vec::new(),
            unreported_losses: Vec::new(),
            log_level: None,
            subscriptions: Vec::new(),
            in_use: Arc::default(),
            counted: None,
            is_learned: false,
            has_settings: false,
            is_keeper: false,
        }
    }

    /// The binding that was used most recently.
    #[must_use]
    pub fn latest(&self) -> Option<&(ServerName, Binding)> {
        self.servers.iter().max_by_key(|(_, binding)| binding.last_used)
    }
}

/// Where one server of a session is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    pub node: NodeId,
    /// Whether the session has had the server open: without, the node was only chosen.
    pub was_open: bool,
    /// Whether the server has to be opened at this node before a message is sent there.
    pub must_open: bool,
}
