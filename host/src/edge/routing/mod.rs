//! Step 5, bind: on which node a session's server runs.

pub mod affinity;
pub mod bind;
pub mod cold_start;
