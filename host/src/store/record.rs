//! What is known of one session: the node of each of its servers, and what the
//! client has set.

use std::sync::Arc;

use crate::model::{NodeId, ServerName, UnixMillis};
use crate::protocol::log_level::LogLevel;

use super::quotas::Counted;

/// The node that serves one server of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    pub node: NodeId,
    /// When the node was chosen or, as it reports, opened the server.
    pub since: UnixMillis,
    pub last_used: UnixMillis,
    /// Whether this process chose the node. A choice outranks the report of another
    /// node, which may come back with an old instance of the session.
    pub decided_here: bool,
    /// Whether the session has had the server open, on this node or an earlier one.
    pub was_open: bool,
}

impl Binding {
    /// A choice that this process makes now; the server is not open yet.
    #[must_use]
    pub fn decided(node: &NodeId, now: UnixMillis) -> Self {
        Self { node: node.clone(), since: now, last_used: now, decided_here: true, was_open: false }
    }
}

/// Everything known of one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub created: UnixMillis,
    pub last_used: UnixMillis,
    /// At most one binding for each server.
    pub servers: Vec<(ServerName, Binding)>,
    /// Servers that have been open and are bound to no node at present.
    pub gone: Vec<ServerName>,
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
}

/// The outcome of a node's report that it holds a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReportOutcome {
    /// The binding is the reporting node's.
    Taken,
    /// The session stays bound to this node: the reporting one is to close it.
    Older(NodeId),
    /// The reporting node opened it earlier and gets the binding: this node is to
    /// close it.
    Replaced(NodeId),
}
