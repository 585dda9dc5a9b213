//! Where a limit on processes is reached, another process makes room, in this order:
//!
//! 1. One of the key (credential or address) that has the most of those that count against the
//!    limit, if that is at least two more than the start's own key has: one that nothing listens to
//!    before one that a client listens to, that before one with subscriptions, and of these the one
//!    that was not called for longest. So nobody keeps others out, whatever it sends to stay in use.
//! 2. The one that was not called for longest, if that is longer than `limits.unusedAfterMs`, and
//!    if nothing listens to it and it has no subscription. Clients leave without closing their
//!    sessions, whose processes would otherwise keep others out for the rest of the idle time.
//!
//! Only a quiet instance goes: no request in flight, none announced, none with it in hand. The next
//! message of its session opens another one; therefore servers whose sessions end with their process
//! are left out.

use std::sync::Arc;
use std::time::Duration;

use crate::model::{QuotaKey, ServerName};
use crate::runner::admission::process_limits::Full;
use crate::runner::session::instance::Instance;
use crate::runner::session::table::InstanceKey;
use crate::runner::shared::SharedRunner;

use super::sweep::PRECISION;

/// How many more processes than the start's key another one has, before it gives way to it: after
/// the exchange it still has no fewer, so that two keys never take the place from each other.
const AHEAD: usize = 2;

impl SharedRunner {
    /// Lets starts that meet a limit end unused processes from now on.
    pub fn enable_eviction(self: &Arc<Self>) {
        let shared = Arc::downgrade(self);
        let makes_room = move |full: &Full, server: &ServerName, key: &QuotaKey| {
            shared.upgrade().is_some_and(|shared| shared.make_room(full, server, key))
        };
        // Called once, since the hook cannot be replaced.
        self.resources.starts.eviction.set(Box::new(makes_room));
    }

    fn make_room(&self, full: &Full, server: &ServerName, key: &QuotaKey) -> bool {
        let of_others =
            || if full.is_of_key() { None } else { self.of_the_most(full, server, key) };
        let taken = of_others().or_else(|| self.of_the_unused(full, server, key));
        let Some(((session, of), instance)) = taken else { return false };
        let Some(stdio) = instance.stdio() else { return false };
        let (short, pid) = (session.short(), stdio.pid());
        tracing::debug!(session = %short, server = %of, pid, "makes room ({full})");
        if let Some(others) = self.resources.evictions.line() {
            tracing::info!(
                session = %short, server = %of, pid, others,
                "its unused process makes room for another ({full}); the session's next message opens it again"
            );
        }
        stdio.close();
        true
    }

    /// Whom the instance counts for, if it counts against the limit and may be ended.
    fn evictable(
        &self,
        full: &Full,
        asked: &ServerName,
        of: &ServerName,
        instance: &Instance,
    ) -> Option<QuotaKey> {
        let stdio = instance.stdio()?;
        let goes = self.servers.load().get(of).is_some_and(|served| !served.ends_when_lost);
        stdio.child().counts_for().filter(|_| goes && full.is_of(asked, of))
    }

    fn of_the_most(
        &self,
        full: &Full,
        server: &ServerName,
        key: &QuotaKey,
    ) -> Option<(InstanceKey, Arc<Instance>)> {
        let holders = self.resources.starts.caps.holders(full, server);
        let least = holders.get(key).copied().unwrap_or(0) + AHEAD;
        if holders.values().all(|count| *count < least) {
            return None;
        }
        self.table.take_quiet(|of, instance, unused| {
            let holder = self.evictable(full, server, of, instance)?;
            let count = *holders.get(&holder).filter(|count| **count >= least)?;
            let free = (!instance.is_subscribed(), !instance.is_busy());
            (holder != *key).then_some((count, free, unused))
        })
    }

    fn of_the_unused(
        &self,
        full: &Full,
        server: &ServerName,
        key: &QuotaKey,
    ) -> Option<(InstanceKey, Arc<Instance>)> {
        // A sweep marks busy instances as used; the next one may come this much later.
        let least: Duration = self.config.unused + self.config.unused / PRECISION;
        self.table.take_quiet(|of, instance, unused| {
            let holder = self.evictable(full, server, of, instance)?;
            let goes = unused > least
                && !instance.is_busy()
                && !instance.is_subscribed()
                && (!full.is_of_key() || holder == *key);
            goes.then_some(unused)
        })
    }
}
