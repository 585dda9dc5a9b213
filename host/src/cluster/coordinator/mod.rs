//! The coordinator's side: which nodes there are, and what is asked of them.

pub mod control;
pub mod known_nodes;
pub mod recall;
pub mod registry;
