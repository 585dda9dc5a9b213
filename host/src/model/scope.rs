//! The set of servers that a URL exposes.

use std::fmt;
use std::sync::Arc;

use super::policy::Rights;
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
    /// One of these, of which each message is judged for its client.
    Judged(Arc<JudgedScope>),
}

/// A scope as the operator's rules leave it to some clients.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct JudgedScope {
    /// The scope of the URL. It is not judged itself.
    pub of: Scope,
    /// What may be used of it; `None` if that is everything.
    pub rights: Option<Arc<Rights>>,
}

impl Scope {
    /// The scope of the URL, without what its clients may use of it.
    #[must_use]
    pub fn of_url(&self) -> &Self {
        match self {
            Self::Judged(judged) => &judged.of,
            other => other,
        }
    }

    /// What its clients may use of it; `None` if that is everything.
    #[must_use]
    pub fn rights(&self) -> Option<&Arc<Rights>> {
        match self {
            Self::Judged(judged) => judged.rights.as_ref(),
            _ => None,
        }
    }

    /// A text that is unique to this scope; session ids are sealed to it. What clients may use of it
    /// may change while a session goes on.
    #[must_use]
    pub fn seal_text(&self) -> String {
        match self {
            Self::All => "*".to_owned(),
            Self::Key(holder) => format!("k/{}", holder.as_str()),
            Self::Group(name) => format!("g/{name}"),
            Self::Server(name) => format!("s/{name}"),
            Self::Judged(judged) => judged.of.seal_text(),
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
            Self::Judged(judged) => judged.of.fmt(f),
        }
    }
}
