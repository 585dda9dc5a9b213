//! Who gives way where a limit on processes is reached: clients leave without
//! saying so, and their processes would keep others out for the rest of the idle
//! time.
//!
//! It is the process that has been unused for longest, of those that count against
//! the limit, if nobody listens to it or waits for its updates. Its session goes on
//! with its next message (`table`), so that sessions which end with their process
//! never give way.

use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::model::{Principal, ServerName};

use super::caps::{Full, Permit};
use super::endpoint::Shared;
use super::instance::Instance;
use super::starts::Starts;
use super::tend::PRECISION;

/// Of those who find room, somebody may come first; so often it is made.
const ATTEMPTS: u32 = 3;

type MakesRoom = dyn Fn(&Full, &ServerName, &Principal) -> bool + Send + Sync;

/// Begins the end of one process; says whether there was one. Empty until there is a
/// table of instances.
#[derive(Default)]
pub struct GivingWay(OnceLock<Box<MakesRoom>>);

impl fmt::Debug for GivingWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GivingWay")
    }
}

impl GivingWay {
    fn make_room(&self, full: &Full, server: &ServerName, principal: &Principal) -> bool {
        self.0.get().is_some_and(|makes_room| makes_room(full, server, principal))
    }
}

impl Starts {
    /// A place for one more process, for which another may have to give way.
    ///
    /// # Errors
    /// The limit that stands against it.
    pub async fn place(&self, server: &ServerName, principal: &Principal) -> Result<Permit, Full> {
        for _ in 0..ATTEMPTS {
            match self.caps.enter(server, principal).await {
                Err(full) if self.giving_way.make_room(&full, server, principal) => {}
                entered => return entered,
            }
        }
        self.caps.enter(server, principal).await
    }
}

impl Shared {
    /// Has instances give way from now on.
    pub(super) fn give_way(self: &Arc<Self>) {
        let shared = Arc::downgrade(self);
        let makes_room = move |full: &Full, server: &ServerName, principal: &Principal| {
            shared.upgrade().is_some_and(|shared| shared.make_room(full, server, principal))
        };
        // It is set once, when everything is made.
        let _ = self.means.starts.giving_way.0.set(Box::new(makes_room));
    }

    fn make_room(&self, full: &Full, server: &ServerName, principal: &Principal) -> bool {
        let counts = |of: &ServerName, instance: &Instance| {
            let Some(stdio) = instance.stdio() else { return false };
            !self.ends_when_lost(of)
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
