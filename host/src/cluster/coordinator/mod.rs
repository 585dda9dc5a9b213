//! The coordinator's side: which nodes there are, and the calls to and from them.

pub mod control;
pub mod known_nodes;
pub mod recall;
pub mod registry;
