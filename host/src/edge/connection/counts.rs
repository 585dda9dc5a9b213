//! What is counted of clients' connections.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts for the metrics.
#[derive(Debug, Default)]
pub struct ConnectionCounts {
    open: AtomicU64,
    evicted: AtomicU64,
    refused: AtomicU64,
    not_accepted: AtomicU64,
    late_heads: AtomicU64,
    slow_bodies: AtomicU64,
    unread: AtomicU64,
}

/// The counts at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionNumbers {
    /// Connections now.
    pub open: u64,
    /// Connections that were told to make room for a new one.
    pub evicted: u64,
    /// Connections that came when none could make room.
    pub refused: u64,
    /// Attempts to accept one that failed, as without a descriptor.
    pub not_accepted: u64,
    /// Connections cut off, since the head of a request came too late.
    pub late_heads: u64,
    /// Request bodies broken off, since they did not go on.
    pub slow_bodies: u64,
    /// Connections cut off, since their client did not read.
    pub unread: u64,
}

impl ConnectionCounts {
    #[must_use]
    pub fn numbers(&self) -> ConnectionNumbers {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        ConnectionNumbers {
            open: read(&self.open),
            evicted: read(&self.evicted),
            refused: read(&self.refused),
            not_accepted: read(&self.not_accepted),
            late_heads: read(&self.late_heads),
            slow_bodies: read(&self.slow_bodies),
            unread: read(&self.unread),
        }
    }

    pub(super) fn open(&self, now: usize) {
        self.open.store(now as u64, Ordering::Relaxed);
    }

    pub(super) fn evicted(&self) {
        self.evicted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn not_accepted(&self) {
        self.not_accepted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn cut(&self, heads: u64, bodies: u64, unread: u64) {
        self.late_heads.fetch_add(heads, Ordering::Relaxed);
        self.slow_bodies.fetch_add(bodies, Ordering::Relaxed);
        self.unread.fetch_add(unread, Ordering::Relaxed);
    }
}
