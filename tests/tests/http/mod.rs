//! The HTTP front: headers, limits and invalid input.

pub mod access;
pub mod bad_input;
pub mod batch_memory;
pub mod bodies;
pub mod connections;
pub mod early_refusals;
pub mod fidelity;
pub mod framing;
pub mod headers;
pub mod limits;
pub mod liveness;
pub mod odd_values;
