//! The HTTP front: headers, limits and invalid input.

pub mod access;
pub mod audited;
pub mod bad_input;
pub mod base_path;
pub mod batch_memory;
pub mod bodies;
pub mod canaries;
pub mod client_certificates;
pub mod connections;
pub mod early_refusals;
pub mod fidelity;
pub mod framing;
pub mod headers;
pub mod keys;
pub mod limits;
pub mod liveness;
pub mod locked;
pub mod odd_values;
pub mod policy;
pub mod rates;
pub mod refusal_ids;
pub mod routes;
pub mod tls;
pub mod tokens;
pub mod unix_socket;
