//! The upkeep of open instances: idle ones are closed, old ones replaced, and where a limit is
//! reached, unused ones make room.

pub mod eviction;
pub mod sweep;
pub mod watch;
