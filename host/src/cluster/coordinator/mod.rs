//! The coordinator's side: which nodes there are, and the calls to and from them.

mod admissions;
mod bounds;
pub mod callback;
pub mod claims;
pub mod control;
pub mod fellows;
pub mod known_nodes;
pub mod node_entry;
pub mod proofs;
pub mod recall;
pub mod registry;
pub mod rejected;
pub mod replays;
mod take_over;
