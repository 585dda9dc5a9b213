//! The planned end of the process.
//!
//! ```text
//! signal ──► quiet ──► good-bye ──► lame duck ──► last answers ──► servers end
//!            │ serves on             │ 200 ms, Connection: close
//!            └ until nothing is under way here, or the deadline
//! ```
//!
//! A node lets its sessions go meanwhile. Others have nowhere to send theirs: they wait for what is
//! under way, and serve all that comes, since an answer that a server waits for comes over a new
//! connection.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::app::parts::Parts;
use crate::cluster::{DrainWaits, Joined};

use super::CHILDREN;

/// Longest time until the answer to a call is a stream, if it has not come: before, nobody can say
/// whether the call takes long.
const FIRST_SECOND: Duration = Duration::from_millis(1100);
/// Time between two looks at what is under way.
const LOOK: Duration = Duration::from_millis(50);
/// Time that requests get to end which came last, whatever the deadline is.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Waits until sessions have left or are quiet, at most until the deadline.
pub async fn quiet(parts: &Arc<Parts>, deadline: Instant) {
    parts.edge.leaving.end();
    let is_member = parts.joined.as_ref().is_some_and(|joined| *joined.borrow() != Joined::Waiting);
    let waiting = async {
        if is_member {
            parts.drain.begin_end(deadline.saturating_duration_since(Instant::now()));
            drained(parts).await;
        } else {
            calm(parts).await;
        }
    };
    if tokio::time::timeout_at(deadline, waiting).await.is_err() {
        let waits = parts.drain.report().map(|report| report.waits);
        let under_way = parts.runner.under_way(Duration::ZERO).0;
        tracing::warn!(
            under_way,
            idle = waits.map(|waits| waits.stream + waits.state + waits.last_replica),
            "drainDeadline is over: what is left ends with this process"
        );
    }
}

/// How long requests that are still under way get to end.
pub fn patience(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(LAST_ANSWERS)
}

async fn drained(parts: &Parts) {
    let mut state = parts.drain.watch();
    let is_empty = |waits: DrainWaits| waits.sessions() == 0;
    // Without a coordinator nobody sends sessions.
    let is_alone =
        || parts.joined.as_ref().is_some_and(|joined| *joined.borrow() != Joined::Registered);
    // The sender lives as long as `parts`.
    let _ = state
        .wait_for(|state| (state.is_known || is_alone()) && state.waits.is_some_and(is_empty))
        .await;
}

/// Waits until nothing is under way, or only what has just begun: calls that take long begin rarely.
pub async fn calm(parts: &Parts) {
    let began = Instant::now();
    loop {
        let (all, long) = parts.runner.under_way(FIRST_SECOND);
        let lasting = parts.edge.leaving.answers() + parts.edge.sse_sessions.answering();
        let is_calm = match began.elapsed() < FIRST_SECOND {
            true => all == 0 && lasting == 0 && parts.edge.metrics.counts().in_flight == 0,
            false => long == 0 && lasting == 0,
        };
        if is_calm {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Closes all servers.
pub async fn end_servers(parts: &Parts) {
    parts.runner.close_all(parts.control_link.pool()).await;
    let _ = tokio::time::timeout(CHILDREN, parts.runner.children().all_ended()).await;
}
