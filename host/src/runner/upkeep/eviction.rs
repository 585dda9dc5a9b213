//! Who gives way where a limit on processes is reached: clients leave without
//! saying so, and their processes would keep others out for the rest of the idle
//! time.
//!
//! It is the process that has been unused for longest, of those that count against
//! the limit, if nobody listens to it or waits for its updates. Its session goes on
//! with its next message (`table`), so that sessions which end with their process
//! never give way.

use std::sync::Arc;

use crate::model::{Principal, ServerName};
use crate::runner::admission::caps::Full;
use crate::runner::session::instance::Instance;
use crate::runner::shared::SharedRunner;

use super::sweep::PRECISION;

impl SharedRunner {
    /// Has instances give way from now on.
    pub fn enable_eviction(self: &Arc<Self>) {
        let shared = Arc::downgrade(self);
        let makes_room = move |full: &Full, server: &ServerName, principal: &Principal| {
            shared.upgrade().is_some_and(|shared| shared.make_room(full, server, principal))
        };
        // It is set once, when everything is made.
        self.resources.starts.eviction.set(Box::new(makes_room));
    }

    fn make_room(&self, full: &Full, server: &ServerName, principal: &Principal) -> bool {
        let counts = |of: &ServerName, instance: &Instance| {
            let Some(stdio) = instance.stdio() else { return false };
            self.config.servers.get(of).is_some_and(|served| !served.ends_when_lost)
                && full.is_of(server, of)
                && (!full.is_of_principal() || stdio.child().is_of(principal))
        };
        // What works or listens is marked as used only so often (`tend`).
        let least = self.config.unused + self.config.unused / PRECISION;
        let Some(((session, of), instance)) = self.table.take_unused(least, counts) else {
            return false;
        };
        let Some(stdio) = instance.stdio() else { return false };
        tracing::info!(
            session = %session.short(), server = %of, pid = stdio.pid(),
            "its process makes room for another, {full}; the session's next message opens it again"
        );
        stdio.close();
        true
    }
}
