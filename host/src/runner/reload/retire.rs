//! Retires the instances of servers that a reload has changed or removed: each at its quiet point. What
//! waits for its client, or to be saved, waits for the drain's time at most; so do calls under way at a
//! server that was removed.
//!
//! The session stays. Its next message is answered `unknown-session`, and the edge opens it again,
//! with the new settings, and tells its client what was lost; a session in use is caught where its
//! next message comes (`session/table.rs`). At a server that was removed there is no next message.

use std::sync::Arc;
use std::time::Duration;

use crate::net::Pool;
use crate::runner::session::instance::Instance;
use crate::runner::shared::SharedRunner;

/// Time between two looks while instances are to be retired.
const LOOK: Duration = Duration::from_millis(50);

impl SharedRunner {
    /// Retires instances after each reload, until the process ends.
    pub async fn retire_outdated(self: Arc<Self>, patience: Duration, pool: Pool) {
        loop {
            self.retiring.notified().await;
            loop {
                // What was being opened before the look may have begun with the settings before.
                let opening = self.table.opening();
                let left = self.retire(patience, &pool);
                self.table.set_has_outdated(left > 0);
                if left + opening == 0 {
                    break;
                }
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    /// Closes what is quiet; returns how many outdated instances are left.
    fn retire(&self, patience: Duration, pool: &Pool) -> usize {
        let servers = self.servers.load_full();
        let mut left = 0;
        for (key, instance) in self.table.all_ready() {
            let now = servers.get(&key.1);
            if now.is_some_and(|now| instance.goes_on_with(now)) {
                instance.note_up_to_date();
                continue;
            }
            let since = instance.outdate();
            let is_due = |is_quiet: bool| {
                let is_needed = instance.is_asked() || instance.is_held();
                // The edge saves what is to come along to the next instance.
                let goes = is_quiet && !is_needed && !instance.unsaved.is_any();
                let is_over = since.elapsed() > patience;
                // A call is cut only where the operator has taken its server away.
                let is_let_go = is_over && (is_quiet || now.is_none());
                (goes || is_let_go).then_some(())
            };
            if self.table.take_if(&key, &instance, is_due).is_none() {
                left += 1;
                continue;
            }
            let (session, server) = (key.0.short(), &key.1);
            match now {
                Some(_) => {
                    tracing::debug!(session, server = %server, "retired: the server's settings have changed; the next message opens it again")
                }
                None => {
                    tracing::debug!(session, server = %server, "ended: the server was removed from the settings")
                }
            }
            close(instance, pool);
        }
        left
    }
}

fn close(instance: Arc<Instance>, pool: &Pool) {
    let pool = pool.clone();
    tokio::spawn(async move { instance.close(&pool).await });
}
