//! Shared state of threads and tasks: locks that survive a panic, a signal raised once, and counts
//! of what happens at a limit.

mod limit;
mod locked;
mod seldom;
mod signal;

pub use limit::LimitCounts;
pub use locked::{Locked, ReadMostly};
pub use seldom::Seldom;
pub use signal::{Signal, Watcher};
