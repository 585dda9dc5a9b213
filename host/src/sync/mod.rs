//! What threads and tasks share: a lock that survives a panic, and a signal that is raised once.

mod locked;
mod signal;

pub use locked::{Locked, ReadMostly};
pub use signal::{Signal, Watcher};
