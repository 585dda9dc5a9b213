//! After a start: waiting for the nodes that hold sessions from before it.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::model::{Reports, UnixMillis};

/// A session minted before the start may be held by a node that has not
/// reported yet; opening it elsewhere would lose its state.
#[derive(Debug, Clone)]
pub struct ColdStart {
    started_at: UnixMillis,
    deadline: Instant,
    /// Whether nodes are known that may return.
    expected: bool,
    reports: watch::Receiver<Reports>,
}

impl ColdStart {
    /// Waits at most `patience`, or until the sender says that all have
    /// reported.
    #[must_use]
    pub fn new(patience: Duration, expected: bool, reports: watch::Receiver<Reports>) -> Self {
        let deadline = Instant::now() + patience;
        Self { started_at: UnixMillis::now(), deadline, expected, reports }
    }

    /// Nobody is waited for.
    #[must_use]
    pub fn nobody() -> Self {
        let nobody = watch::channel(Reports { count: 0, all: true }).1;
        Self::new(Duration::ZERO, false, nobody)
    }

    #[must_use]
    pub fn concerns(&self, minted_at: UnixMillis) -> bool {
        minted_at < self.started_at && self.is_under_way()
    }

    /// Whether somebody may return who was here before the start.
    #[must_use]
    pub fn expects(&self) -> bool {
        self.expected && self.is_under_way()
    }

    #[must_use]
    pub fn is_under_way(&self) -> bool {
        !self.reports.borrow().all && Instant::now() < self.deadline
    }

    /// Looks for something now and after each node's report, until it is there or
    /// nobody is waited for any more.
    pub async fn until<T>(&self, look: impl Fn() -> Option<T>) -> Option<T> {
        let mut reports = self.reports.clone();
        loop {
            // Marked before the look: what comes between the two is not overlooked.
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
        let returning = ColdStart::new(PATIENCE, true, reports);
        let (begun, looks) = (Instant::now(), Cell::new(0));
        let look = |enough: u32| {
            looks.set(looks.get() + 1);
            (looks.get() >= enough).then_some(())
        };
        let (found, ()) = tokio::join!(returning.until(|| look(2)), async {
            sender.send_modify(|reports| reports.count += 1);
        });
        assert_eq!((found, begun.elapsed()), (Some(()), Duration::ZERO));
        assert_eq!(returning.until(|| look(u32::MAX)).await, None);
        assert_eq!(begun.elapsed(), PATIENCE);
        let returning = ColdStart::new(PATIENCE, true, sender.subscribe());
        sender.send_modify(|reports| reports.all = true);
        assert_eq!(returning.until(|| look(u32::MAX)).await, None);
        assert_eq!(begun.elapsed(), PATIENCE);
    }
}
