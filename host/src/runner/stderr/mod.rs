//! What servers write to stderr: read, kept for errors, followed by operators.

pub mod drain;
pub mod journal;
pub mod tail;
