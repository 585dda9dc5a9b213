//! Counters of a strategy, one set for each worker so that none shares a cache line.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sync::{Histogram, HistogramCounts};

/// Why the fallback decided instead of the plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The call trapped.
    Trap,
    /// The call used up its CPU time.
    Deadline,
    /// The plugin named a node that does not exist or does not host the server.
    InvalidAnswer,
    /// The plugin found no node that can take the session.
    NoCandidate,
    /// The plugin left the decision to the gateway.
    Abstain,
    /// The request lacks an input that the plugin needs.
    MissingInput,
    /// Every node that the plugin named is down, draining or excluded.
    AllRefused,
    /// All its instances were in use or being replaced.
    NoInstance,
    /// The plugin failed too often and is bypassed for a while.
    Quarantined,
    /// The plugin did not accept the current topology.
    UpdateRefused,
}

impl Reason {
    /// In the order of their numbers, as [`Stats::fallbacks`] is indexed.
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

    /// A name in snake case, fit for a metric's label.
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
    /// Questions that the plugin or the fallback answered.
    pub decisions: u64,
    /// Questions without an answer: no usable node hosts the server.
    pub unanswered: u64,
    /// Decisions of the fallback, in the order of [`Reason::ALL`].
    pub fallbacks: [u64; Reason::ALL.len()],
    /// Calls that trapped.
    pub traps: u64,
    /// Calls that used up their CPU time.
    pub interrupts: u64,
    /// Instances discarded after a fault.
    pub replaced: u64,
    /// Bypasses that were started.
    pub quarantines: u64,
    /// How long the questions took.
    pub durations: HistogramCounts,
}

impl Stats {
    /// Decisions that the fallback made for this reason.
    pub fn fallbacks_for(&self, reason: Reason) -> u64 {
        self.fallbacks[reason as usize]
    }

    /// Decisions that the fallback made, for any reason.
    pub fn all_fallbacks(&self) -> u64 {
        self.fallbacks.iter().sum()
    }

    /// These counts and others.
    pub(super) fn plus(&self, more: &Self) -> Self {
        let durations = self.durations.plus(&more.durations);
        self.with(more, durations, |count, more| count.saturating_add(more))
    }

    /// What was counted since these were `before`.
    pub(super) fn since(&self, before: &Self) -> Self {
        let durations = self.durations.since(&before.durations);
        self.with(before, durations, u64::saturating_sub)
    }

    fn with(&self, other: &Self, durations: HistogramCounts, of: fn(u64, u64) -> u64) -> Self {
        let mut fallbacks = self.fallbacks;
        let pairs = fallbacks.iter_mut().zip(other.fallbacks);
        pairs.for_each(|(count, other)| *count = of(*count, other));
        Self {
            decisions: of(self.decisions, other.decisions),
            unanswered: of(self.unanswered, other.unanswered),
            fallbacks,
            traps: of(self.traps, other.traps),
            interrupts: of(self.interrupts, other.interrupts),
            replaced: of(self.replaced, other.replaced),
            quarantines: of(self.quarantines, other.quarantines),
            durations,
        }
    }
}

pub(super) struct Counters(Box<[WorkerStats]>);

#[derive(Default)]
#[repr(align(128))]
pub(super) struct WorkerStats {
    pub(super) decisions: Counter,
    pub(super) unanswered: Counter,
    pub(super) fallbacks: [Counter; Reason::ALL.len()],
    pub(super) traps: Counter,
    pub(super) interrupts: Counter,
    pub(super) replaced: Counter,
    pub(super) quarantines: Counter,
    pub(super) durations: Histogram,
}

impl Counters {
    pub(super) fn new(workers: usize) -> Self {
        Self((0..workers.max(1)).map(|_| WorkerStats::default()).collect())
    }

    pub(super) fn of(&self, worker: usize) -> &WorkerStats {
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
            worker.durations.add_to(&mut sum.durations);
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
