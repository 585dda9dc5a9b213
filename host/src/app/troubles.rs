//! The servers of this process that cannot be used now, and the flaws of those that can, reported to
//! the coordinator and to the process's own registry.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::cluster::{FlawReport, Registry, ServerNotes, TroubleReport, bounded_flaws};
use crate::model::{NodeId, ServerName, UnixMillis};
use crate::runner::{SharedRunner, Trouble};

/// Time between two looks. A server that comes to fail, or to run again, is told within that.
const LOOK: Duration = Duration::from_millis(500);

/// Looks for what is wrong with servers, and notifies of changes.
pub struct TroubleWatch {
    runner: Arc<SharedRunner>,
    told: watch::Sender<ServerNotes>,
}

impl TroubleWatch {
    #[must_use]
    pub fn new(runner: &Arc<SharedRunner>) -> Arc<Self> {
        Arc::new(Self { runner: Arc::clone(runner), told: watch::Sender::default() })
    }

    /// What is wrong now, with a notice of each change.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<ServerNotes> {
        self.told.subscribe()
    }

    /// Keeps the notes up to date, in this process's registry entry too.
    pub async fn watch(self: Arc<Self>, registry: Arc<Registry>, id: NodeId) {
        let mut discovered = self.runner.discovery.changes();
        let mut lost = self.runner.lost_elsewhere();
        let mut timer = tokio::time::interval(LOOK);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = timer.tick() => {}
                changed = discovered.changed() => if changed.is_err() { return },
            }
            let now_lost = self.runner.lost_elsewhere();
            self.doubt(&lost, &now_lost);
            lost = now_lost;
            let troubles = reports(self.runner.troubles(), &self.told.borrow().troubles);
            self.try_again(&troubles);
            let flaws = self.runner.flaws().into_iter();
            let flaws =
                flaws.map(|(server, flaws)| FlawReport { server: server.to_string(), flaws });
            let found = ServerNotes { troubles, flaws: bounded_flaws(flaws.collect()) };
            let is_new = self.told.send_if_modified(|told| {
                let is_new = *told != found;
                told.clone_from(&found);
                is_new
            });
            if is_new {
                registry.set_local_notes(&id, found);
            }
        }
    }
}

impl TroubleWatch {
    /// Has servers elsewhere asked whether they are there, if clients could not reach them: nobody
    /// sees their end.
    fn doubt(&self, before: &BTreeMap<ServerName, u64>, now: &BTreeMap<ServerName, u64>) {
        let is_more = |server: &ServerName, count: u64| {
            before.get(server).is_none_or(|before| *before < count) && count > 0
        };
        for (server, _) in now.iter().filter(|(server, count)| is_more(server, **count)) {
            self.runner.discovery.doubt(server);
        }
    }

    /// Has a server that has just come to fail opened once more as soon as it may be, and again
    /// until that succeeds: a server that nobody calls because it fails would stay so for ever.
    fn try_again(&self, found: &[TroubleReport]) {
        let told = self.told.borrow();
        let is_told = |trouble: &TroubleReport| {
            told.troubles.iter().any(|told| told.server == trouble.server)
        };
        let new = found.iter().filter(|trouble| trouble.failures > 0 && !is_told(trouble));
        for trouble in new {
            if let Ok(server) = ServerName::parse(&trouble.server) {
                self.runner.discovery.ask_again(&server);
            }
        }
    }
}

/// The reports, each since it was first told.
fn reports(found: BTreeMap<ServerName, Trouble>, told: &[TroubleReport]) -> Vec<TroubleReport> {
    let report = |(server, trouble): (ServerName, Trouble)| {
        let before = told.iter().find(|told| told.server == server.as_str());
        TroubleReport {
            since: before.map_or_else(|| UnixMillis::now().0, |before| before.since),
            server: server.to_string(),
            status: trouble.status.to_owned(),
            failures: trouble.failures,
            reason: Some(trouble.reason.to_string()),
        }
    };
    found.into_iter().map(report).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_keeps_its_beginning_while_its_reason_changes() {
        let trouble = |status, reason: &str| Trouble { status, failures: 2, reason: reason.into() };
        let server = ServerName::parse("s").unwrap();
        let first = TroubleReport {
            server: "s".into(),
            status: "backoff".into(),
            since: 7,
            ..TroubleReport::default()
        };
        let now = reports([(server.clone(), trouble("crash-loop", "gone"))].into(), &[first]);
        assert_eq!((now[0].since, now[0].status.as_str()), (7, "crash-loop"));
        assert_eq!(now[0].reason.as_deref(), Some("gone"));
        let new = reports([(server, trouble("backoff", "x"))].into(), &[]);
        assert!(new[0].since > 7);
    }
}
