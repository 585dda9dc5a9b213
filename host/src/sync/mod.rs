//! Shared state of threads and tasks: locks that survive a panic, a signal raised once, counts of what
//! happens at a limit, and of durations.

use std::time::{Duration, Instant};

mod beside;
mod histogram;
mod limit;
mod locked;
mod seldom;
mod signal;

pub use beside::beside;
#[cfg(test)]
pub use beside::do_at_once;
pub use histogram::{BOUNDS, Histogram, HistogramCounts};
pub use limit::LimitCounts;
pub use locked::{Locked, ReadMostly};
pub use seldom::Seldom;
pub use signal::{Signal, Watcher};

/// Now, by the clock of tokio's timers: where a test pauses or advances those, this follows.
#[must_use]
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The time from `then` until now, by the same clock.
#[must_use]
pub fn since(then: Instant) -> Duration {
    now().saturating_duration_since(then)
}

/// Waits until that time; for ever if there is none.
pub async fn until(due: Option<tokio::time::Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
