//! Why a coordinator refuses a node's request.

use crate::cluster::gate::Denied;

/// `Display` is the text for the node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// It proves nothing, or comes from where nobody is served.
    #[error("{0}")]
    Denied(Denied),
    /// Its connection has not begun with the certificate of the node.
    #[error("Forbidden: {0}")]
    Certificate(String),
    /// A field is invalid, or the callback failed.
    #[error("{0}")]
    BadRequest(String),
    /// No such node is registered: it is to register.
    #[error("Node not found: {0}")]
    Unknown(String),
    /// Another process has the id and still answers.
    #[error(
        "node id {0} is in use by another process that still answers; give each node its own id"
    )]
    InUse(String),
    /// Another process has the id, at another address, and there is no token.
    #[error(
        "node id {0} belongs to a process at another address: without a cluster token, an id keeps \
         its address until the coordinator has forgotten the node, which it does after ten node \
         timeouts of silence; set a cluster token on both sides, or give each node its own id"
    )]
    Elsewhere(String),
    /// Too many registrations are under way.
    #[error("too many nodes register at once: try again")]
    Busy,
    /// There is no room for another node, or for what it reports.
    #[error("{0}")]
    Full(String),
}
