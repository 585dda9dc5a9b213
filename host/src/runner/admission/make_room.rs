//! The hook by which a start that meets a limit ends another process to make room.
//!
//! `upkeep::eviction` decides which one: it knows the instances, which this layer does not.

use std::fmt;
use std::sync::OnceLock;

use crate::model::{QuotaKey, ServerName};

use super::process_limits::Full;

/// Starts to end one process that counts against the limit. Returns whether there was one
/// that may be ended.
pub type MakesRoom = dyn Fn(&Full, &ServerName, &QuotaKey) -> bool + Send + Sync;

/// Holds the hook. Empty, it makes no room.
#[derive(Default)]
pub struct Eviction(OnceLock<Box<MakesRoom>>);

impl fmt::Debug for Eviction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Eviction")
    }
}

impl Eviction {
    /// Sets the hook. A second call changes nothing.
    pub fn set(&self, makes_room: Box<MakesRoom>) {
        let _ = self.0.set(makes_room);
    }

    /// Calls the hook for a start of `server` for `key` that `full` has refused.
    pub fn make_room(&self, full: &Full, server: &ServerName, key: &QuotaKey) -> bool {
        self.0.get().is_some_and(|makes_room| makes_room(full, server, key))
    }
}
