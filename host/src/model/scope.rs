//! What a URL exposes.

use std::fmt;

use super::{GroupName, ServerName};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// `/mcp`: every server.
    All,
    /// `/mcp/{group}`
    Group(GroupName),
    /// `/mcp/{server}`
    Server(ServerName),
}

impl Scope {
    /// A text that no other scope has: what a session id is sealed to.
    #[must_use]
    pub fn seal_text(&self) -> String {
        match self {
            Self::All => "*".to_owned(),
            Self::Group(name) => format!("g/{name}"),
            Self::Server(name) => format!("s/{name}"),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all servers"),
            Self::Group(name) => write!(f, "group {name}"),
            Self::Server(name) => write!(f, "server {name}"),
        }
    }
}
