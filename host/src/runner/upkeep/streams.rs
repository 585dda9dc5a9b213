//! Ends the sessions of HTTP+SSE whose streams were at a gateway that is gone.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{GatewayStart, SessionId};
use crate::net::Pool;
use crate::runner::session::stream_leases::LOOK;
use crate::runner::shared::SharedRunner;
use crate::sync::now;

impl SharedRunner {
    /// A start of a gateway says that it is there, for how long that counts, and which sessions have
    /// come back to it from another one.
    pub fn note_streams(
        &self,
        start: GatewayStart,
        lease: Duration,
        returned: &HashSet<SessionId>,
    ) {
        self.stream_leases.heard(start, lease, now());
        if !returned.is_empty() {
            self.table.move_streams(returned, start);
        }
    }

    /// Looks for as long as the process runs.
    pub async fn watch_streams(self: Arc<Self>, pool: Pool) {
        loop {
            tokio::time::sleep(LOOK).await;
            let over = self.stream_leases.over(now());
            if over.is_empty() {
                continue;
            }
            let left = self.table.take_of_starts(&over);
            if left.is_empty() {
                continue;
            }
            tracing::warn!(
                sessions = left.len(),
                "a coordinator is gone: sessions of HTTP+SSE whose streams it had are closed"
            );
            self.close_left(left, &pool);
        }
    }
}
