//! The limits on the number of processes: which there are, how much of them is whose, and what a
//! client is told that meets one.
//!
//! An address has a share of each server's and of the node's processes. A credential has none by
//! default, since today one is everybody's: a share of it would only lower the limit.

use std::collections::BTreeMap;

use crate::model::{QuotaKey, ServerName};
use crate::sync::LimitCounts;

/// Part of the processes that one address may have by default.
const SHARE: usize = 4;
/// The same for the processes of one server. It is larger, since an address with several users may
/// need one server for all of them.
const SHARE_OF_SERVER: usize = 2;
/// A share is no smaller: where there are few processes, they give way in turn instead.
const LEAST_SHARE: usize = 4;

/// The limits, in processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessCaps {
    pub per_server: usize,
    /// Replaces `per_server` for servers with `maxInstances`.
    pub own: BTreeMap<ServerName, usize>,
    pub per_node: usize,
    /// Of one key on this node. `None`: a quarter, and half of each server's, of one address.
    pub per_principal: Option<usize>,
}

impl ProcessCaps {
    /// The processes of one server, and which limit says so.
    pub fn of_server(&self, server: &ServerName) -> (usize, Which) {
        match self.own.get(server) {
            Some(own) => (*own, Which::Instances),
            None => (self.per_server, Which::Server),
        }
    }

    /// The processes of one key on this node.
    pub fn of_key(&self, key: &QuotaKey) -> usize {
        let own = match (self.per_principal, key) {
            (Some(own), _) => own,
            (None, QuotaKey::Address(_)) => self.per_node.div_ceil(SHARE).max(LEAST_SHARE),
            (None, QuotaKey::Credential(_)) => self.per_node,
        };
        own.min(self.per_node)
    }

    /// The processes of one key at a server that may have `of_server`.
    pub fn share(&self, key: &QuotaKey, of_server: usize) -> usize {
        match (self.per_principal, key) {
            (None, QuotaKey::Address(_)) => {
                of_server.div_ceil(SHARE_OF_SERVER).max(LEAST_SHARE).min(of_server)
            }
            _ => of_server,
        }
    }
}

/// A limit that is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Full {
    pub limit: usize,
    pub which: Which,
    /// Whose start was refused.
    pub whom: QuotaKey,
}

impl Full {
    /// Whether processes of `server` count against this limit, which refused a start
    /// of `asked`.
    #[must_use]
    pub fn is_of(&self, asked: &ServerName, server: &ServerName) -> bool {
        match self.which {
            Which::Instances | Which::Server | Which::Share => asked == server,
            Which::Node | Which::Principal => true,
        }
    }

    /// Whether only processes of the refused key count.
    #[must_use]
    pub fn is_of_key(&self) -> bool {
        matches!(self.which, Which::Principal | Which::Share)
    }

    /// What has happened at this limit.
    pub fn met<'a>(&self, met: &'a ProcessLimitsMet) -> &'a LimitCounts {
        match self.which {
            Which::Instances => &met.instances,
            Which::Server => &met.server,
            Which::Node => &met.node,
            Which::Principal | Which::Share => &met.principal,
        }
    }
}

/// One of the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The server's own `maxInstances`.
    Instances,
    Server,
    Node,
    /// The key's part of the node's processes.
    Principal,
    /// The key's part of one server's processes.
    Share,
}

/// What has happened at the limits here.
#[derive(Debug)]
pub struct ProcessLimitsMet {
    pub instances: LimitCounts,
    pub server: LimitCounts,
    pub node: LimitCounts,
    pub principal: LimitCounts,
}

impl Default for ProcessLimitsMet {
    fn default() -> Self {
        Self {
            instances: LimitCounts::new("maxInstances"),
            server: LimitCounts::new("childrenPerServer"),
            node: LimitCounts::new("childrenPerNode"),
            principal: LimitCounts::new("childrenPerPrincipal"),
        }
    }
}

impl std::fmt::Display for Full {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { limit, which, whom } = self;
        match which {
            Which::Instances => write!(f, "all {limit} of its processes are in use (maxInstances)"),
            Which::Server => {
                write!(f, "all {limit} of its processes are in use (limits.childrenPerServer)")
            }
            Which::Node => {
                write!(f, "all {limit} processes of this node are in use (limits.childrenPerNode)")
            }
            Which::Principal => write!(
                f,
                "you have {limit} processes in use (limits.childrenPerPrincipal), counted for {whom}; end sessions that you no longer need"
            ),
            Which::Share => write!(
                f,
                "you have {limit} of its processes in use, your part of limits.childrenPerServer (limits.childrenPerPrincipal), counted for {whom}; end sessions that you no longer need"
            ),
        }
    }
}
