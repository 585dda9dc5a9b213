//! Whether a remote server still has a session that has rested, before a message that is too large to
//! be sent twice.

use std::time::Duration;

use crate::net::Pool;
use crate::runner::session::table::{InstanceKey, Table};

use super::own_call;

/// A session that was called more recently is there.
const RESTED: Duration = Duration::from_secs(1);
/// Longest wait for the server's answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks the server of a session that has rested. If the session is unknown there, its instance is
/// lost afterwards; any answer will do otherwise.
pub async fn probe(table: &Table, key: &InstanceKey, pool: &Pool) {
    let rested = table.rested(key, RESTED).filter(|instance| instance.transport() == "http");
    if let Some(instance) = rested {
        let asking = own_call::call(&instance, pool, "ping", "{}");
        let _ = tokio::time::timeout(PATIENCE, asking).await;
    }
}
