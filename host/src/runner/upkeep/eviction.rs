//! Where a limit on processes is reached, an unused process makes room. Clients leave
//! without closing their sessions, whose processes would otherwise keep others out for
//! the rest of the idle time.
//!
//! The process that has been unused for longest goes, of those that count against the
//! limit and have no listener and no subscription. The next message of its session opens
//! another one; therefore servers whose sessions end with their process are left out.

use std::sync::Arc;

use crate::model::{Principal, ServerName};
use crate::runner::admission::caps::Full;
use crate::runner::session::instance::Instance;
use crate::runner::shared::SharedRunner;

use super::sweep::PRECISION;

impl SharedRunner {
    /// Lets starts that meet a limit end unused processes from now on.
    pub fn enable_eviction(self: &Arc<Self>) {
        let shared = Arc::downgrade(self);
        let makes_room = move |full: &Full, server: &ServerName, principal: &Principal| {
            shared.upgrade().is_some_and(|shared| shared.make_room(full, server, principal))
        };
        // Called once, since the hook cannot be replaced.
        self.resources.starts.eviction.set(Box::new(makes_room));
    }

    fn make_room(&self, full: &Full, server: &ServerName, principal: &Principal) -> bool {
        let counts = |of: &ServerName, instance: &Instance| {
            let Some(stdio) = instance.stdio() else { return false };
            self.config.servers.get(of).is_some_and(|served| !served.ends_when_lost)
                && full.is_of(server, of)
                && (!full.is_of_principal() || stdio.child().is_of(principal))
        };
        // A sweep marks busy instances as used; the next one may come this much later.
        let least = self.config.unused + self.config.unused / PRECISION;
        let Some(((session, of), instance)) = self.table.take_unused(least, counts) else {
            return false;
        };
        let Some(stdio) = instance.stdio() else { return false };
        tracing::info!(
            session = %session.short(), server = %of, pid = stdio.pid(),
            "its unused process makes room for another ({full}); the session's next message opens it again"
        );
        stdio.close();
        true
    }
}
