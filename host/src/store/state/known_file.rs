//! What a process knows of a session's file of states.

use super::joined::{self, Places};
use super::state_text::Logs;

/// Bytes at the beginning of a sealed file with all of its nonce.
const HEAD: usize = 32;

/// What this process knows of a session's file.
#[derive(Default)]
pub struct KnownFile {
    /// Its first bytes, which differ whenever it was sealed anew. Empty without one.
    head: Vec<u8>,
    /// What it has of each log.
    pub places: Places,
}

impl KnownFile {
    #[must_use]
    pub fn of(sealed: &[u8], logs: &Logs) -> Self {
        Self::with(sealed, joined::places(logs))
    }

    #[must_use]
    pub fn with(sealed: &[u8], places: Places) -> Self {
        Self { head: head(sealed).to_vec(), places }
    }

    /// Whether it is this file still.
    #[must_use]
    pub fn is(&self, sealed: &[u8]) -> bool {
        self.head == head(sealed)
    }
}

fn head(sealed: &[u8]) -> &[u8] {
    sealed.get(..HEAD).unwrap_or(sealed)
}
