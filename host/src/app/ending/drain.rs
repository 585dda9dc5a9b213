//! Carries out the drain of this process's own runner, round by round.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::app::parts::Parts;
use crate::cluster::{DrainOrder, DrainState, DrainWaits};
use crate::runner::{DrainClock, DrainRound, StayCounts};
use crate::sync::since;

/// Time between two rounds. A session whose client calls meanwhile is caught by its call.
const ROUND: Duration = Duration::from_millis(200);

/// Lets sessions go while a drain is ordered. Never returns.
pub async fn carry_out(parts: Arc<Parts>) {
    let mut orders = parts.drain.watch();
    loop {
        let state = orders.borrow_and_update().clone();
        let Some(order) = state.order else {
            parts.runner.end_drain();
            parts.registry.set_drain(&parts.node_id, None);
            if orders.changed().await.is_err() {
                return;
            }
            continue;
        };
        let before = state.waits;
        round(&parts, order, &state);
        orders.borrow_and_update();
        let now = parts.drain.state().waits;
        if now != before {
            tell(now.unwrap_or_default());
        }
        // Only another order is worth a round before its time.
        let _ = tokio::time::timeout(ROUND, another_order(&mut orders, order)).await;
    }
}

async fn another_order(orders: &mut watch::Receiver<DrainState>, order: DrainOrder) {
    let _ = orders.wait_for(|state| state.order != Some(order)).await;
}

fn round(parts: &Parts, order: DrainOrder, state: &DrainState) {
    if parts.tells_nodes {
        let only_here = parts.registry.only_at(&parts.node_id);
        parts.drain.known(only_here.into_iter().collect());
    }
    let clock = DrainClock {
        elapsed: since(order.began),
        deadline: order.deadline,
        is_known: state.is_known,
        ends: order.ends,
    };
    let round = DrainRound { began: order.began, clock, only_here: &state.only_here };
    let counts = parts.runner.drain(&round, parts.control_link.pool());
    parts.drain.note(waits(counts));
    parts.registry.set_drain(&parts.node_id, parts.drain.report());
}

fn waits(counts: StayCounts) -> DrainWaits {
    let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    DrainWaits {
        request: number(counts.request),
        question: number(counts.question),
        stream: number(counts.stream),
        state: number(counts.state),
        last_replica: number(counts.last_replica),
    }
}

fn tell(waits: DrainWaits) {
    let DrainWaits { request, question, stream, state, last_replica } = waits;
    if waits.sessions() == 0 {
        tracing::info!("drained: no session is left");
    } else {
        tracing::debug!(request, question, stream, state, last_replica, "draining");
    }
}
