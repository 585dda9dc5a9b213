//! The upkeep of open instances: idle ones are closed, old ones replaced, and where a limit is
//! reached, unused ones make room. Before a planned end they are let go (`drain`).

pub mod drain;
pub mod drain_policy;
pub mod eviction;
pub mod streams;
pub mod sweep;
pub mod watch;
