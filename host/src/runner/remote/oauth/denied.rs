//! Why there is no token.

use std::time::Duration;

/// What a token server says instead of a token, and when it wants to be asked again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    pub why: String,
    pub after: Option<Duration>,
}

impl From<String> for Denied {
    fn from(why: String) -> Self {
        Self { why, after: None }
    }
}
