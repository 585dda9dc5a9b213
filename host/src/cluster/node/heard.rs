//! When the coordinator was last heard of.

use std::time::Duration;

use tokio::time::Instant;

use crate::sync::Locked;

/// The time since the coordinator answered this node, or asked it something. The two take different
/// ways, and either shows that it is there.
pub struct Heard(Locked<Instant>);

impl Default for Heard {
    /// Counts the start as heard.
    fn default() -> Self {
        Self(Locked::new(Instant::now()))
    }
}

impl Heard {
    /// The coordinator has just been heard.
    pub fn now(&self) {
        *self.0.lock() = Instant::now();
    }

    /// For how long nothing was heard of it.
    #[must_use]
    pub fn silence(&self) -> Duration {
        self.0.lock().elapsed()
    }
}
