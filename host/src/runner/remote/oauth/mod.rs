//! Access tokens that the gateway fetches for a remote server, as a client of its own (RFC 6749 §4.4):
//! one for all sessions, kept in memory, and renewed before it expires.

pub mod denied;
pub mod fetch;
pub mod metadata;
pub mod terms;
pub mod tokens;
