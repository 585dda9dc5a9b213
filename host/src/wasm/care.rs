//! What is done after a plugin's fault: it is counted and blamed, and the instance is replaced.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::instance::{Fault, PluginInstance};
use super::janitor::{Chore, Janitor};
use super::pool::InstancePool;
use super::snapshot::Snapshot;
use super::stats::{Reason, WorkerStats};

/// One call to the plugin, as far as it may go wrong.
pub(super) struct PluginCare<'a> {
    /// Number of the calling worker.
    pub(super) worker: usize,
    pub(super) snapshot: &'a Snapshot,
    pub(super) counters: &'a WorkerStats,
    pub(super) janitor: &'a Janitor,
}

impl PluginCare<'_> {
    pub(super) fn note(&self, fault: &Fault) -> Reason {
        self.counters.replaced.count();
        self.blame(fault);
        match fault {
            Fault::Trap(_) => {
                self.counters.traps.count();
                Reason::Trap
            }
            Fault::Deadline => {
                self.counters.interrupts.count();
                Reason::Deadline
            }
        }
    }

    pub(super) fn blame(&self, fault: impl fmt::Display) {
        if self.snapshot.plugin.blame(fault, Instant::now()) {
            self.counters.quarantines.count();
        }
    }

    pub(super) fn order_refill(&self, pool: &Arc<InstancePool>, broken: Option<PluginInstance>) {
        self.janitor.leave(Chore::Refill {
            pool: Arc::downgrade(pool),
            worker: self.worker,
            broken,
        });
    }
}
