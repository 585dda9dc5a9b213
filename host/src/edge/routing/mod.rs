//! Step 5, bind: decides which node runs a session's server.

pub mod affinity;
pub mod bind;
pub mod cold_start;
pub mod decision;
pub mod decisions;
mod shown_inputs;
