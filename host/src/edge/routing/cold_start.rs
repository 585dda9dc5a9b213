//! After a restart of the gateway, waits until the nodes have reported which sessions they hold.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::model::{Reports, UnixMillis};

/// The time after a start in which requests wait for nodes. A session from before the start may be
/// held by a node that has not reported yet; opening it elsewhere would lose its state.
#[derive(Debug, Clone)]
pub struct ColdStart {
    started_at: UnixMillis,
    deadline: Instant,
    /// Whether nodes from before the start are known, which may return.
    expected: bool,
    reports: watch::Receiver<Reports>,
}

impl ColdStart {
    /// Begins now, and ends after `patience`, or once all nodes have reported.
    #[must_use]
    pub fn new(patience: Duration, expected: bool, reports: watch::Receiver<Reports>) -> Self {
        let deadline = Instant::now() + patience;
        Self { started_at: UnixMillis::now(), deadline, expected, reports }
    }

    /// Without nodes to wait for.
    #[must_use]
    pub fn none() -> Self {
        let none = watch::channel(Reports { count: 0, all: true }).1;
        Self::new(Duration::ZERO, false, none)
    }

    /// Whether requests of a session that was minted then have to wait.
    #[must_use]
    pub fn concerns(&self, minted_at: UnixMillis) -> bool {
        minted_at < self.started_at && self.is_under_way()
    }

    /// Whether what such a session may use can still be missing: also for a session of after the
    /// start, if nodes of before it are known.
    #[must_use]
    pub fn delays(&self, minted_at: UnixMillis) -> bool {
        self.expects() || self.concerns(minted_at)
    }

    /// Whether nodes were known when this process started.
    #[must_use]
    pub fn had_nodes(&self) -> bool {
        self.expected
    }

    /// Marked as changed by each report of a node.
    #[must_use]
    pub fn reports(&self) -> watch::Receiver<Reports> {
        self.reports.clone()
    }

    /// When this process began.
    #[must_use]
    pub fn started_at(&self) -> UnixMillis {
        self.started_at
    }

    /// Whether nodes from before the start may still return.
    #[must_use]
    pub fn expects(&self) -> bool {
        self.expected && self.is_under_way()
    }

    /// Whether reports of nodes are still waited for.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        !self.reports.borrow().all && Instant::now() < self.deadline
    }

    /// The longest time for which reports of nodes are still waited for.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        match self.is_under_way() {
            true => self.deadline.saturating_duration_since(Instant::now()),
            false => Duration::ZERO,
        }
    }

    /// Looks something up now and after each node's report, until it is found or no node is waited
    /// for any more.
    pub async fn until<T>(&self, look: impl Fn() -> Option<T>) -> Option<T> {
        let mut reports = self.reports.clone();
        loop {
            // Marked as seen before the lookup: a report meanwhile then causes another lookup.
            let all = reports.borrow_and_update().all;
            let found = look();
            if found.is_some() || all {
                return found;
            }
            let changed = tokio::time::timeout_at(self.deadline, reports.changed()).await;
            if !matches!(changed, Ok(Ok(()))) {
                return look();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_waits_looks_after_each_report_and_not_longer_than_is_useful() {
        const PATIENCE: Duration = Duration::from_secs(60);
        let (sender, reports) = watch::channel(Reports::default());
        let cold_start = ColdStart::new(PATIENCE, true, reports);
        assert_eq!(cold_start.remaining(), PATIENCE);
        let (begun, looks) = (Instant::now(), Cell::new(0));
        let look = |enough: u32| {
            looks.set(looks.get() + 1);
            (looks.get() >= enough).then_some(())
        };
        let (found, ()) = tokio::join!(cold_start.until(|| look(2)), async {
            sender.send_modify(|reports| reports.count += 1);
        });
        assert_eq!((found, begun.elapsed()), (Some(()), Duration::ZERO));
        assert_eq!(cold_start.until(|| look(u32::MAX)).await, None);
        assert_eq!(begun.elapsed(), PATIENCE);
        let cold_start = ColdStart::new(PATIENCE, true, sender.subscribe());
        sender.send_modify(|reports| reports.all = true);
        assert_eq!(cold_start.remaining(), Duration::ZERO);
        assert_eq!(cold_start.until(|| look(u32::MAX)).await, None);
        assert_eq!(begun.elapsed(), PATIENCE);
    }
}
