//! The node's side: it registers, and serves its coordinator.

pub mod agent;
pub mod complaint;
pub mod door;
pub mod heard;
pub mod routes;
