//! What became of what was to be told to a collector.

use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Default)]
pub struct ExportCounts {
    pub sent: AtomicU64,
    /// What the channel had no room for.
    pub overflowed: AtomicU64,
    /// What the collector did not take.
    pub failed: AtomicU64,
}

impl ExportCounts {
    /// Counts what a request held, by whether the collector took it.
    pub fn note(&self, is_sent: bool, count: u64) {
        let counter = if is_sent { &self.sent } else { &self.failed };
        counter.fetch_add(count, Ordering::Relaxed);
    }
}
