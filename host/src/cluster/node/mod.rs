//! The node's side: it registers, and serves its coordinator.

pub mod agent;
pub mod agents;
pub mod complaint;
pub mod door;
pub mod heard;
pub mod membership;
pub mod routes;
pub mod unproved;
