//! Secrets: text that must not reach a log.

use std::fmt;
use std::sync::Arc;

use subtle::ConstantTimeEq;

/// A token, key or password. It has no `Display`, and `Debug` prints `…`.
#[derive(Clone)]
pub struct Secret(Arc<str>);

impl Secret {
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text itself, for code that sends or hashes it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Compares in constant time, so that the time taken does not reveal how much was
    /// right. It may reveal the length.
    pub fn matches(&self, given: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(given).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.matches(other.0.as_bytes())
    }
}

impl Eq for Secret {}
