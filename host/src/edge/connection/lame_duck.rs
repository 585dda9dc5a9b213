//! How long a process that leaves still serves what is on the way to it.
//!
//! Each answer asks its client to use another connection next. So a client that asks all the time
//! has no connection here any more after its next request. One that is about to send that on an idle
//! connection would find it closed, and cannot know whether the request was read.

use std::time::Duration;

use tokio::time::Instant;

use crate::edge::metrics::Metrics;
use crate::sync::Watcher;

/// How long connections are still accepted, and idle ones kept, once this process leaves.
const LAME_DUCK: Duration = Duration::from_millis(200);
/// Where requests have come meanwhile: how long none has to come until idle connections are closed.
/// On a busy machine clients are slow to send theirs.
const QUIET: Duration = Duration::from_millis(500);
/// How long idle connections are kept at most while requests come.
const LAST_REQUESTS: Duration = Duration::from_secs(3);

/// Waits until this process leaves, and then as long as it accepts connections. Returns how many
/// requests had come when it began to leave.
pub async fn accepting(mut leaving: Watcher, metrics: &Metrics) -> u64 {
    leaving.raised().await;
    let before = metrics.counts().requests;
    tokio::time::sleep(LAME_DUCK).await;
    before
}

/// Waits until no request has come for a while. `before` had come when this process began to leave.
pub async fn last_requests(mut before: u64, metrics: &Metrics) {
    let end = Instant::now() + LAST_REQUESTS;
    loop {
        let now = metrics.counts().requests;
        if now == before || Instant::now() >= end {
            return;
        }
        before = now;
        tokio::time::sleep(QUIET).await;
    }
}

#[cfg(test)]
mod tests {
    use crate::sync::Signal;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn where_nobody_asks_idle_connections_are_kept_for_a_moment_only() {
        let (metrics, leaving, began) = (Metrics::default(), Signal::default(), Instant::now());
        metrics.began();
        leaving.raise();
        let before = accepting(leaving.watch(), &metrics).await;
        last_requests(before, &metrics).await;
        assert_eq!((before, began.elapsed()), (1, LAME_DUCK));
    }

    #[tokio::test(start_paused = true)]
    async fn they_are_kept_while_requests_come_and_not_for_ever() {
        let metrics = Metrics::default();
        for (asked, lasts) in [(700, 1000), (60_000, 3000)] {
            let (began, before) = (Instant::now(), metrics.counts().requests);
            metrics.began();
            let asking = async {
                for _ in 0..asked / 100 {
                    tokio::time::sleep(Duration::from_millis(99)).await;
                    metrics.began();
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = last_requests(before, &metrics) => {}
                () = asking => {}
            }
            let lasted = began.elapsed().as_millis();
            assert!((lasts..lasts + 501).contains(&lasted), "{asked}: {lasted}");
        }
    }
}
