//! The HTTP front: headers, limits, and input that is not as it should be.

pub mod access;
pub mod bad_input;
pub mod fidelity;
pub mod headers;
pub mod limits;
pub mod liveness;
pub mod odd_values;
