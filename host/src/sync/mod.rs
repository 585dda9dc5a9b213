//! Shared state of threads and tasks: locks that survive a panic, a signal raised once, and counts
//! of what happens at a limit.

mod beside;
mod limit;
mod locked;
mod seldom;
mod signal;

pub use beside::beside;
#[cfg(test)]
pub use beside::do_at_once;
pub use limit::LimitCounts;
pub use locked::{Locked, ReadMostly};
pub use seldom::Seldom;
pub use signal::{Signal, Watcher};

/// Now, by the clock of tokio's timers: where a test pauses or advances those, this follows.
#[must_use]
pub fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}
