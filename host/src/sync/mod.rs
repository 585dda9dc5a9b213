//! Shared state of threads and tasks: locks that survive a panic, a signal raised once, counts of what
//! happens at a limit, and of durations.

mod histogram;
mod limit;
mod locked;
mod seldom;
mod signal;

pub use histogram::{BOUNDS, Histogram, HistogramCounts};
pub use limit::LimitCounts;
pub use locked::{Locked, ReadMostly};
pub use seldom::Seldom;
pub use signal::{Signal, Watcher};
