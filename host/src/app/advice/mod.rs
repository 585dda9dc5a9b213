//! What the operator is told of valid settings: what is open, what has no effect, what is missing or
//! slow.

pub mod commands;
pub mod differences;
pub mod notices;
pub mod slow_starts;
pub mod unmatched;
