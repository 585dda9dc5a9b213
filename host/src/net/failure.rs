//! Why there is no response.

use super::unreached::{Sign, Unreached};

/// Why an exchange gave no response head.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    /// Certainly no byte of the request went out.
    #[error("{0}")]
    NotSent(String),
    /// The same, since this side is short of something: that says nothing of the other one.
    #[error("{0}")]
    Short(String),
    /// The request or a part of it may have gone out. Then the connection broke, the response
    /// was malformed, or the request's body broke off.
    #[error("{0}")]
    Broken(String),
}

impl From<Unreached> for Failure {
    fn from(Unreached { why, sign }: Unreached) -> Self {
        match sign {
            Sign::Short => Self::Short(why),
            _ => Self::NotSent(why),
        }
    }
}
