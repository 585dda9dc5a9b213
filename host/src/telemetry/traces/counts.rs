//! What became of spans.

use std::sync::atomic::AtomicU64;

#[derive(Debug, Default)]
pub struct TraceCounts {
    pub sent: AtomicU64,
    /// Spans for which the channel had no room.
    pub overflowed: AtomicU64,
    /// Spans that the collector did not take.
    pub failed: AtomicU64,
}
