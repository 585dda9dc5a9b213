//! The servers' stderr: read, quoted in error messages, and followed by operators.

pub mod drain;
pub mod journal;
pub mod tail;
