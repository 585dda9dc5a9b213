//! Access tokens that the gateway fetches for a remote server, as a client of its own (RFC 6749 §4.4):
//! one for all sessions, or one for each token that a client came in with. They are kept in memory, and
//! renewed before they expire.

pub mod denied;
pub mod exchanges;
pub mod fetch;
pub mod metadata;
pub mod source;
pub mod terms;
pub mod tokens;
