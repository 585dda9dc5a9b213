//! The coordinator's side: which nodes there are, and the calls to and from them.

mod admissions;
mod bounds;
pub mod callback;
mod claims;
pub mod closings;
pub mod control;
pub mod fellows;
pub mod known_nodes;
pub mod known_sessions;
pub mod node_entry;
pub mod proofs;
pub mod recall;
pub mod registry;
pub mod rejected;
pub mod replays;
mod take_over;
