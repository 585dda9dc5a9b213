//! How many sessions there may be: the limits, what counts for whom, and which sessions give way.

pub mod counting;
pub mod quotas;
pub mod session_limits;
