//! How coordinator and node prove themselves to each other: on a new connection, and with each
//! request.

pub mod handshake;
pub mod mac;
pub mod request_proof;
