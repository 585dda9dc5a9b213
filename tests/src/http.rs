//! HTTP/1.1 over a socket: the test sets every header; only those it leaves out and that a request
//! needs are added.

mod body;
mod connection;
mod incoming;
mod request;
mod response;

pub use connection::Connection;
pub use incoming::Incoming;
pub use request::Request;
pub use response::Response;
