//! HTTP/1.1 over a socket: every header is the test's own, nothing is added
//! behind its back except what it did not set itself.

mod body;
mod connection;
mod incoming;
mod request;
mod response;

pub use connection::Connection;
pub use incoming::Incoming;
pub use request::Request;
pub use response::Response;
