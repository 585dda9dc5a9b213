//! The client's HTTP request, without its body.

use std::net::IpAddr;

use http::{HeaderMap, Uri};

/// What of the client's request a strategy may ask to see.
#[derive(Debug, Clone)]
pub struct ClientRequest {
    pub headers: HeaderMap,
    pub uri: Uri,
    pub peer: IpAddr,
}
