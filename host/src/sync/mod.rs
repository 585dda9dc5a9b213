//! Shared state of threads and tasks: locks that survive a panic, and a signal raised once.

mod locked;
mod signal;

pub use locked::{Locked, ReadMostly};
pub use signal::{Signal, Watcher};
