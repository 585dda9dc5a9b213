//! Why there is no response.

/// Why an exchange gave no response head.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    /// Certainly no byte of the request went out.
    #[error("{0}")]
    NotSent(String),
    /// The request or a part of it may have gone out. Then the connection broke, the response
    /// was malformed, or the request's body broke off.
    #[error("{0}")]
    Broken(String),
}
