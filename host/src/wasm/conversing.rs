//! By what a plugin tells conversations apart, and its answers, as plain types.

use std::fmt;

/// Bytes of the longest name of a conversation.
pub(super) const MAX_NAME: usize = 1024;

/// Something by which conversations are told apart. The meaning is documented in `wit/routing.wit`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConversationInput {
    /// Who calls.
    Principal,
    /// A header by its lower-case name.
    Header(String),
    /// A cookie.
    Cookie(String),
    /// A query parameter.
    Query(String),
    /// The JSON-RPC method.
    RpcMethod,
    /// What the request names.
    RpcTarget,
    /// A JSON pointer into the message.
    Body(String),
    /// The name that the client gives itself.
    ClientName,
    /// The client's address.
    ClientAddress,
    /// The connection.
    Connection,
    /// The conversation that the gateway has named.
    Handle,
}

impl fmt::Display for ConversationInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Principal => f.write_str("principal"),
            Self::Header(name) => write!(f, "header {name}"),
            Self::Cookie(name) => write!(f, "cookie {name}"),
            Self::Query(name) => write!(f, "query {name}"),
            Self::RpcMethod => f.write_str("method"),
            Self::RpcTarget => f.write_str("target"),
            Self::Body(pointer) => write!(f, "body {pointer}"),
            Self::ClientName => f.write_str("client name"),
            Self::ClientAddress => f.write_str("client address"),
            Self::Connection => f.write_str("connection"),
            Self::Handle => f.write_str("handle"),
        }
    }
}

/// The plugin's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConversationAnswer {
    /// The gateway's other rules decide.
    Abstain,
    /// The conversation has this name.
    Named(String),
    /// The request stands alone.
    Alone,
}

impl ConversationAnswer {
    /// What is wrong with it, if it cannot be used.
    pub(super) fn objection(&self) -> Option<String> {
        let Self::Named(name) = self else { return None };
        let is_good = (1..=MAX_NAME).contains(&name.len());
        (!is_good).then(|| {
            let length = name.len();
            format!("it named a conversation with {length} bytes; 1 to {MAX_NAME} are allowed")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_a_length() {
        let named = |length| ConversationAnswer::Named("x".repeat(length)).objection();
        assert!(named(0).is_some() && named(MAX_NAME + 1).is_some());
        assert!(named(1).is_none() && named(MAX_NAME).is_none());
        assert!(ConversationAnswer::Alone.objection().is_none());
    }
}
