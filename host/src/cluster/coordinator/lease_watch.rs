//! Watches the leases of nodes, and asks those nodes of which there is doubt.
//!
//! One question to a node is under way at a time, whoever waits for it: on the connection of the
//! last one, or on two new ones where a connection to the node broke. A question has no effect, so
//! that long calls at the node's servers are not concerned by it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::model::NodeId;
use crate::net::{Sign, Unreached};
use crate::seam::Link;
use crate::sync::{Locked, now, since};

use super::asking::Answered;
use super::control::Control;
use super::node_entry::NodeEntry;
use super::registry::LeaseChange;

/// Time between two looks at all leases.
const TICK: Duration = Duration::from_millis(100);
/// A look that is later than this shows that this process stood still: a machine that was
/// suspended, or a signal.
const LATE: Duration = Duration::from_secs(1);
/// The same for the judgement of one question, which takes little longer than a second.
const LATE_FOR_ONE: Duration = Duration::from_millis(500);
/// Time after which another connection asks too: one lost packet is no silence.
const SECOND: Duration = Duration::from_millis(50);

struct LeaseWatch {
    control: Arc<Control>,
    link: Link,
    /// When this process last looked, and how often it stood still before.
    looked: Locked<(Instant, u64)>,
}

/// Runs as long as `doubts` are sent: nodes that a request waits for, or has broken at.
pub async fn watch(control: Arc<Control>, link: Link, mut doubts: mpsc::UnboundedReceiver<NodeId>) {
    let looked = Locked::new((now(), 0));
    let watch = Arc::new(LeaseWatch { control, link, looked });
    let mut timer = tokio::time::interval(TICK);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            _ = timer.tick() => {}
            doubted = doubts.recv() => {
                let Some(id) = doubted else { return };
                watch.control.registry.doubt(&id, now());
            }
        }
        watch.look();
    }
}

impl LeaseWatch {
    fn look(self: &Arc<Self>) {
        let registry = &self.control.registry;
        let now = now();
        let gap = self.note_look(now);
        if gap > LATE {
            tracing::info!(
                "this process stood still for {:.1} s: the leases of all nodes are as much longer",
                gap.as_secs_f32()
            );
            registry.stood_still(gap);
        }
        for entry in registry.due(now) {
            tokio::spawn(Arc::clone(self).ask(entry));
        }
        for change in registry.expire(now) {
            if let LeaseChange::Unhealthy { id, last_heartbeat } = change {
                tracing::warn!(
                    node = %id,
                    "Marking node {id} as unhealthy (last heartbeat: {})",
                    last_heartbeat.iso8601()
                );
            }
        }
    }

    /// Returns how late the look is.
    fn note_look(&self, now: Instant) -> Duration {
        let mut looked = self.looked.lock();
        let gap = now.saturating_duration_since(looked.0).saturating_sub(TICK);
        *looked = (now, looked.1 + u64::from(gap > LATE_FOR_ONE));
        gap
    }

    async fn ask(self: Arc<Self>, entry: NodeEntry) {
        let (began, pauses) = (now(), self.looked.lock().1);
        let answer = self.answer_of(&entry).await;
        let (looked, pauses_now) = *self.looked.lock();
        // In a pause of this process nobody could be heard.
        let stood_still = pauses != pauses_now || since(looked) > TICK + LATE_FOR_ONE;
        let registry = &self.control.registry;
        match answer {
            Ok(()) => match registry.answered(&entry, began) {
                Answered::GoesOn | Answered::Over => {}
                Answered::Returned => self.take_back(&entry).await,
            },
            Err(Unreached { sign: Sign::Unclear | Sign::Short, why }) => {
                tracing::debug!(node = %entry.id, "it is not clear whether the node answers: {why}");
                registry.unclear(&entry);
            }
            Err(_) if stood_still => {
                registry.unclear(&entry);
                registry.doubt(&entry.id, now());
            }
            Err(Unreached { why, .. }) => {
                if registry.unanswered(&entry, now()).is_some() {
                    tracing::warn!(
                        node = %entry.id,
                        "the node is silent: it gets no requests until it answers again: {why}"
                    );
                }
            }
        }
    }

    async fn answer_of(&self, entry: &NodeEntry) -> Result<(), Unreached> {
        if !entry.liveness.needs_new_connection()
            && let Ok(Ok(())) = tokio::time::timeout(SECOND, self.link.reach(&entry.url)).await
        {
            return Ok(());
        }
        let ask = |after: Duration| {
            Box::pin(async move {
                tokio::time::sleep(after).await;
                self.control.ask(entry, &self.link).await
            })
        };
        let asking = [ask(Duration::ZERO), ask(SECOND)];
        futures_util::future::select_ok(asking).await.map(|((), _)| ())
    }

    /// A node that was given up serves again once it has reported what it holds.
    async fn take_back(&self, entry: &NodeEntry) {
        match self.control.readmit(entry, &self.link).await {
            Ok(_) => tracing::info!(node = %entry.id, "the node answers again"),
            Err(why) => tracing::debug!(node = %entry.id, "the node is not taken back: {why}"),
        }
    }
}
