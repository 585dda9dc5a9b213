//! The set of servers that a URL exposes.

use std::fmt;

use super::session::Principal;
use super::{GroupName, ServerName};

/// The servers behind one URL. A session belongs to one scope for its whole life.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// `/mcp`: every server.
    All,
    /// `/mcp` for the holder of a key that does not open everything: what the key opens.
    Key(Principal),
    /// `/mcp/{group}`: the servers that the configuration lists for the group.
    Group(GroupName),
    /// `/mcp/{server}`: one server, whose messages pass unchanged.
    Server(ServerName),
}

impl Scope {
    /// A text that is unique to this scope; session ids are sealed to it.
    #[must_use]
    pub fn seal_text(&self) -> String {
        match self {
            Self::All => "*".to_owned(),
            Self::Key(holder) => format!("k/{}", holder.as_str()),
            Self::Group(name) => format!("g/{name}"),
            Self::Server(name) => format!("s/{name}"),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all servers"),
            Self::Key(holder) => write!(f, "servers of {}", holder.as_str()),
            Self::Group(name) => write!(f, "group {name}"),
            Self::Server(name) => write!(f, "server {name}"),
        }
    }
}
