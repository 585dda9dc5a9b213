//! The hook through which a process that is about to start has another one make room for it.
//!
//! Which one that is, `upkeep::eviction` decides: it knows the instances, which stand above
//! the limits.

use std::fmt;
use std::sync::OnceLock;

use crate::model::{Principal, ServerName};

use super::caps::Full;

pub type MakesRoom = dyn Fn(&Full, &ServerName, &Principal) -> bool + Send + Sync;

/// Begins the end of one process; says whether there was one. Empty until there is a
/// table of instances.
#[derive(Default)]
pub struct Eviction(OnceLock<Box<MakesRoom>>);

impl fmt::Debug for Eviction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GivingWay")
    }
}

impl Eviction {
    /// Sets the hook, once; a second call changes nothing.
    pub fn set(&self, makes_room: Box<MakesRoom>) {
        let _ = self.0.set(makes_room);
    }

    pub fn make_room(&self, full: &Full, server: &ServerName, principal: &Principal) -> bool {
        self.0.get().is_some_and(|makes_room| makes_room(full, server, principal))
    }
}
