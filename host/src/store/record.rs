//! What is known of one session: which node each of its servers is on, and what
//! the client has set in it.

use std::sync::Arc;

use crate::model::{NodeId, Principal, ServerName, UnixMillis};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    pub node: NodeId,
    pub since: UnixMillis,
    pub last_used: UnixMillis,
    /// Decided here, not learnt from a node: a node that comes back later does
    /// not take the session back from where it lives now.
    pub decided_here: bool,
    /// Whether the session has had the server open, here or on an earlier node.
    pub was_open: bool,
}

impl Binding {
    /// What this process decides now.
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
    pub servers: Vec<(ServerName, Binding)>,
    /// Servers that were open and are bound to no node now.
    pub gone: Vec<ServerName>,
    /// Servers whose state was lost while nobody listened who could be told.
    pub untold: Vec<ServerName>,
    /// What the client asked for with `logging/setLevel`, as JSON.
    pub log_level: Option<Arc<str>>,
    /// Resources that the client is subscribed to, as their servers name them.
    pub subscriptions: Vec<(ServerName, Arc<str>)>,
    /// Held by every response that goes on: such a session is in use.
    pub in_use: Arc<()>,
    /// Whose session it is, as far as that is counted.
    pub principal: Option<Principal>,
}

impl Record {
    #[must_use]
    pub fn new(now: UnixMillis) -> Self {
        Self {
            created: now,
            last_used: now,
            servers: Vec::new(),
            gone: Vec::new(),
            untold: Vec::new(),
            log_level: None,
            subscriptions: Vec::new(),
            in_use: Arc::default(),
            principal: None,
        }
    }

    /// The binding that was used last.
    #[must_use]
    pub fn latest(&self) -> Option<&(ServerName, Binding)> {
        self.servers.iter().max_by_key(|(_, binding)| binding.last_used)
    }
}

/// Where a server of a session is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    pub node: NodeId,
    /// Whether it has been open, and not only chosen.
    pub was_open: bool,
}

/// What came of a node's report that it holds a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    Taken,
    /// Another node has it and keeps it: the reporting one is to close it.
    Older(NodeId),
    /// The reporting node opened it earlier: this one is to close it.
    Replaced(NodeId),
}
