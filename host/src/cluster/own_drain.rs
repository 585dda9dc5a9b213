//! The drain of this process's own runner: ordered by a signal or the management API, carried out by
//! the application, and reported to the coordinator.
//!
//! ```text
//! Serving ── drain ──► Draining ── no session is left ──► Drained
//!    ▲                    │  ▲                              │
//!    └───── undrain ──────┘  └────── a session came ────────┘ (and undrain)
//! ```
//!
//! A drain that a signal has begun ends with the process, and nothing takes it back.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::model::{ServerName, UnixMillis};
use crate::sync::now;

use super::messages::{DrainReport, DrainWaits};

/// What was ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainOrder {
    pub began: Instant,
    began_at: UnixMillis,
    pub deadline: Duration,
    /// Whether the process ends after it.
    pub ends: bool,
}

/// The order, and how far it is carried out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DrainState {
    pub order: Option<DrainOrder>,
    /// Whether whoever sends sessions here knows of it.
    pub is_known: bool,
    /// Servers that no other node takes sessions of.
    pub only_here: BTreeSet<ServerName>,
    /// The sessions that are left; `None` before the first round.
    pub waits: Option<DrainWaits>,
}

/// The process ends: there is nothing to take back or to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is ending")]
pub struct Ending;

/// The drain of this process's own runner. All who order, do and report share one.
#[derive(Debug)]
pub struct OwnDrain {
    state: watch::Sender<DrainState>,
    /// The deadline where an order names none.
    default: Duration,
}

impl OwnDrain {
    #[must_use]
    pub fn new(default: Duration) -> Self {
        Self { state: watch::Sender::default(), default }
    }

    /// Begins a drain, or gives the one that is under way another deadline, counted from now.
    ///
    /// # Errors
    /// If the process ends already.
    pub fn begin(&self, deadline: Option<Duration>) -> Result<DrainOrder, Ending> {
        self.order(deadline, false)
    }

    /// Begins the drain that the process ends after.
    pub fn begin_end(&self, deadline: Duration) {
        // It can only be under way already.
        let _ = self.order(Some(deadline), true);
    }

    fn order(&self, deadline: Option<Duration>, ends: bool) -> Result<DrainOrder, Ending> {
        let order = DrainOrder {
            began: now(),
            began_at: UnixMillis::now(),
            deadline: deadline.unwrap_or(self.default),
            ends,
        };
        let mut ordered = Err(Ending);
        self.state.send_if_modified(|state| {
            if state.order.is_some_and(|before| before.ends) {
                return false;
            }
            state.order = Some(order);
            ordered = Ok(order);
            true
        });
        ordered
    }

    /// Takes sessions again. Returns whether it drained.
    ///
    /// # Errors
    /// If the process ends.
    pub fn take_back(&self) -> Result<bool, Ending> {
        let mut was = Err(Ending);
        self.state.send_if_modified(|state| {
            if state.order.is_some_and(|before| before.ends) {
                return false;
            }
            was = Ok(state.order.is_some());
            *state = DrainState::default();
            was == Ok(true)
        });
        was
    }

    /// Notes what is left after a round.
    pub fn note(&self, waits: DrainWaits) {
        self.state.send_if_modified(|state| {
            let is_news = state.order.is_some() && state.waits != Some(waits);
            state.waits = state.order.is_some().then_some(waits);
            is_news
        });
    }

    /// Notes that whoever sends sessions here knows of the drain, and the servers that no other
    /// node takes sessions of.
    pub fn known(&self, only_here: BTreeSet<ServerName>) {
        self.state.send_if_modified(|state| {
            // Which servers these are is read by the next round.
            let is_news = state.order.is_some() && !state.is_known;
            if state.order.is_some() {
                (state.is_known, state.only_here) = (true, only_here);
            }
            is_news
        });
    }

    #[must_use]
    pub fn state(&self) -> DrainState {
        self.state.borrow().clone()
    }

    /// Notifies of orders and of progress.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<DrainState> {
        self.state.subscribe()
    }

    /// Whether sessions are let go.
    #[must_use]
    pub fn is_ordered(&self) -> bool {
        self.state.borrow().order.is_some()
    }

    /// The report for the coordinator; `None` while the runner takes sessions.
    #[must_use]
    pub fn report(&self) -> Option<DrainReport> {
        let state = self.state.borrow();
        let order = state.order?;
        let waits = state.waits.unwrap_or_default();
        Some(DrainReport {
            since: order.began_at.0,
            deadline: order.began_at.plus(order.deadline).0,
            ends: order.ends,
            drained: state.waits.is_some_and(|waits| waits.sessions() == 0),
            waits,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(25);

    #[test]
    fn a_drain_is_reported_until_it_is_taken_back() {
        let drain = OwnDrain::new(DEADLINE);
        assert_eq!((drain.report(), drain.take_back()), (None, Ok(false)));
        assert_eq!(drain.begin(None).unwrap().deadline, DEADLINE);
        let report = drain.report().unwrap();
        assert_eq!(report.deadline - report.since, 25_000);
        assert!(!report.drained && !report.ends);
        drain.note(DrainWaits { state: 2, ..DrainWaits::default() });
        assert_eq!(drain.report().unwrap().waits.sessions(), 2);
        drain.note(DrainWaits::default());
        assert!(drain.report().unwrap().drained);
        assert_eq!(drain.take_back(), Ok(true));
        assert_eq!(drain.state(), DrainState::default());
        drain.note(DrainWaits::default());
        assert_eq!(drain.state(), DrainState::default());
    }

    #[test]
    fn a_second_order_counts_and_an_end_is_never_taken_back() {
        let drain = OwnDrain::new(DEADLINE);
        drain.begin(None).unwrap();
        assert_eq!(drain.begin(Some(Duration::ZERO)).unwrap().deadline, Duration::ZERO);
        drain.begin_end(DEADLINE);
        assert!(drain.report().unwrap().ends);
        assert_eq!((drain.begin(None), drain.take_back()), (Err(Ending), Err(Ending)));
        assert_eq!(drain.state().order.unwrap().deadline, DEADLINE);
    }

    #[test]
    fn only_orders_and_progress_are_news() {
        let drain = OwnDrain::new(DEADLINE);
        let mut news = drain.watch();
        drain.begin(None).unwrap();
        assert!(news.has_changed().unwrap());
        news.borrow_and_update();
        drain.known(BTreeSet::new());
        assert!(news.has_changed().unwrap() && drain.state().is_known);
        news.borrow_and_update();
        drain.known(BTreeSet::from([ServerName::parse("s").unwrap()]));
        assert!(!news.has_changed().unwrap() && drain.state().only_here.len() == 1);
        drain.note(DrainWaits::default());
        assert!(news.has_changed().unwrap());
        news.borrow_and_update();
        drain.note(DrainWaits::default());
        assert!(!news.has_changed().unwrap());
    }
}
