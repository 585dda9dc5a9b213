//! Counters that the workers keep without sharing a cache line.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why the gateway decided instead of the plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The plugin gave up in the middle of a call.
    Trap,
    /// It used up its CPU time.
    Deadline,
    /// It named a node that does not exist or does not host the server.
    InvalidAnswer,
    /// It knew no candidate.
    NoCandidate,
    /// It left the decision to the gateway.
    Abstain,
    /// The request brought nothing to decide by.
    MissingInput,
    /// Whatever it named was refused: down, draining, or failed already.
    AllRefused,
    /// Its instances were being replaced.
    NoInstance,
    /// It failed too often and is left alone for a while.
    Quarantined,
    /// It did not accept the present topology.
    UpdateRefused,
}

impl Reason {
    pub const ALL: [Self; 10] = [
        Self::Trap,
        Self::Deadline,
        Self::InvalidAnswer,
        Self::NoCandidate,
        Self::Abstain,
        Self::MissingInput,
        Self::AllRefused,
        Self::NoInstance,
        Self::Quarantined,
        Self::UpdateRefused,
    ];

    /// As a metric's label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Deadline => "deadline",
            Self::InvalidAnswer => "invalid_answer",
            Self::NoCandidate => "no_candidate",
            Self::Abstain => "abstain",
            Self::MissingInput => "missing_input",
            Self::AllRefused => "all_refused",
            Self::NoInstance => "no_instance",
            Self::Quarantined => "quarantined",
            Self::UpdateRefused => "update_refused",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// What happened since the strategy was loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Questions that were answered, by whomever.
    pub decisions: u64,
    /// Questions for which there was no candidate at all.
    pub unanswered: u64,
    /// Of the decisions, those of the fallback: by [`Reason::ALL`].
    pub fallbacks: [u64; Reason::ALL.len()],
    pub traps: u64,
    /// Calls cut at the deadline.
    pub interrupts: u64,
    /// Instances thrown away after a fault.
    pub replaced: u64,
    /// Times the plugin was put into quarantine.
    pub quarantines: u64,
}

impl Stats {
    pub fn fallbacks_for(&self, reason: Reason) -> u64 {
        self.fallbacks[reason as usize]
    }

    pub fn all_fallbacks(&self) -> u64 {
        self.fallbacks.iter().sum()
    }
}

pub(super) struct Counters(Box<[Worker]>);

#[derive(Default)]
#[repr(align(128))]
pub(super) struct Worker {
    pub(super) decisions: Counter,
    pub(super) unanswered: Counter,
    pub(super) fallbacks: [Counter; Reason::ALL.len()],
    pub(super) traps: Counter,
    pub(super) interrupts: Counter,
    pub(super) replaced: Counter,
    pub(super) quarantines: Counter,
}

impl Counters {
    pub(super) fn new(workers: usize) -> Self {
        Self((0..workers.max(1)).map(|_| Worker::default()).collect())
    }

    pub(super) fn of(&self, worker: usize) -> &Worker {
        &self.0[worker % self.0.len()]
    }

    pub(super) fn sum(&self) -> Stats {
        let mut sum = Stats::default();
        for worker in &self.0 {
            sum.decisions += worker.decisions.get();
            sum.unanswered += worker.unanswered.get();
            for (sum, count) in sum.fallbacks.iter_mut().zip(&worker.fallbacks) {
                *sum += count.get();
            }
            sum.traps += worker.traps.get();
            sum.interrupts += worker.interrupts.get();
            sum.replaced += worker.replaced.get();
            sum.quarantines += worker.quarantines.get();
        }
        sum
    }
}

#[derive(Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_listed_in_the_order_of_their_numbers() {
        for (position, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, position);
        }
    }
}
