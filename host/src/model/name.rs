//! Names that are chosen outside of the gateway: nodes, servers, groups.

use std::fmt;
use std::sync::Arc;

use super::visible::is_hidden;

/// Longest server or group name, in bytes: it is part of URLs and tool names.
const MAX_NAME: usize = 128;
/// Longest node id, in bytes: it travels in cookies and headers.
const MAX_NODE_ID: usize = 64;

/// Why a text is not a name, worded to follow the place of that text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A name has at least one character.
    #[error("is empty")]
    Empty,
    /// The text's length and the limit, both in bytes.
    #[error("is {0} bytes long, at most {1} are allowed")]
    TooLong(usize, usize),
    /// The first character that this kind of name may not contain.
    #[error("has the character {0:?}, which is not allowed here")]
    Character(char),
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $max:expr, $allowed:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            /// Checks a text against the rules for this kind of name.
            ///
            /// # Errors
            /// If the text is empty, too long or has a character that is not allowed.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                check(text, $max, $allowed)?;
                Ok(Self(text.into()))
            }

            /// The name as it was given: never empty, never normalised.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// A node's id: `[A-Za-z0-9._-]{1,64}`, safe in a cookie, a header and a path.
    NodeId,
    MAX_NODE_ID,
    |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
);
name!(
    /// An MCP server's name, as in `mcpServers`. A `/` in it is escaped in URLs.
    ServerName,
    MAX_NAME,
    |c: char| !is_hidden(c)
);
name!(
    /// A group's name, as in `groups`.
    GroupName,
    MAX_NAME,
    |c: char| !is_hidden(c) && c != '/'
);

impl NodeId {
    /// The id of a standalone gateway in metrics and lists of instances.
    #[must_use]
    pub fn standalone() -> Self {
        Self("standalone".into())
    }

    /// The id under which a coordinator runs servers itself; no node may take it.
    #[must_use]
    pub fn coordinator() -> Self {
        Self("coordinator".into())
    }

    /// `node-` and eight hexadecimal digits, for a node without an id in its configuration.
    #[must_use]
    pub fn numbered(number: u32) -> Self {
        Self(format!("node-{number:08x}").into())
    }
}

fn check(text: &str, max: usize, allowed: impl Fn(char) -> bool) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > max {
        return Err(NameError::TooLong(text.len(), max));
    }
    match text.chars().find(|c| !allowed(*c)) {
        Some(c) => Err(NameError::Character(c)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_id_is_safe_in_a_cookie_a_header_and_a_path() {
        assert!(NodeId::parse("node-1.eu_west").is_ok());
        for made in [NodeId::standalone(), NodeId::coordinator(), NodeId::numbered(7)] {
            assert_eq!(NodeId::parse(made.as_str()), Ok(made));
        }
        for bad in ["", "a b", "a;b", "ä", "a/b", "a\n"] {
            assert!(NodeId::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(NodeId::parse(&"x".repeat(65)), Err(NameError::TooLong(65, 64)));
    }

    #[test]
    fn a_server_name_may_have_spaces_and_slashes_but_no_control_character() {
        assert!(ServerName::parse("my server ü").is_ok());
        assert!(ServerName::parse("example.com/a/b").is_ok());
        assert_eq!(GroupName::parse("a/b"), Err(NameError::Character('/')));
        assert_eq!(ServerName::parse("a\tb"), Err(NameError::Character('\t')));
    }
}
