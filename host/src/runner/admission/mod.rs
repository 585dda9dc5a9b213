//! Whether a server may be started now: its record of failures, the limits on processes, and
//! a turn among those that start.

pub mod admit;
pub mod backoff;
pub mod caps;
pub mod eviction;
pub mod open_error;
pub mod starts;
