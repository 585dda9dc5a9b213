//! Why there is no token.

use std::time::Duration;

/// What a token server says instead of a token, and when it wants to be asked again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    pub why: String,
    pub after: Option<Duration>,
    /// Whether it does not take what a token was asked for with: a code, or a refresh token that has
    /// expired or was revoked (RFC 6749 §5.2, `invalid_grant`).
    pub is_of_grant: bool,
    /// Whether it does not know the client that asks (`invalid_client`).
    pub is_of_client: bool,
}

impl From<String> for Denied {
    fn from(why: String) -> Self {
        Self { why, after: None, is_of_grant: false, is_of_client: false }
    }
}
