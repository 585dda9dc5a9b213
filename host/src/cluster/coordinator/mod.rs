//! The coordinator's side: which nodes there are, and the calls to and from them.

mod admissions;
pub mod asking;
mod bounds;
pub mod callback;
mod claims;
pub mod closings;
pub mod control;
pub mod drain;
pub mod fellows;
mod heard;
pub mod known_nodes;
pub mod known_sessions;
pub mod lease_watch;
pub mod liveness;
pub mod node_entry;
pub mod proofs;
pub mod recall;
mod registration;
pub mod registry;
pub mod rejected;
pub mod replays;
pub mod streams;
mod take_over;
