//! What became of what was to be told to a collector.

use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Default)]
pub struct ExportCounts {
    pub sent: AtomicU64,
    /// What the channel had no room for.
    pub overflowed: AtomicU64,
    /// What the collector did not take.
    pub failed: AtomicU64,
    /// Requests with metrics of which the collector took a part alone.
    pub partial: AtomicU64,
}

impl ExportCounts {
    /// Counts what a request held, by whether the collector took it.
    pub fn note(&self, sent: u64, failed: u64) {
        self.sent.fetch_add(sent, Ordering::Relaxed);
        self.failed.fetch_add(failed, Ordering::Relaxed);
    }

    /// Counts a request as a whole.
    pub fn note_request(&self, is_sent: bool, is_partial: bool) {
        let counter = match (is_sent, is_partial) {
            (true, false) => &self.sent,
            (true, true) => &self.partial,
            (false, _) => &self.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
