//! The client's HTTP request, without its body.

use std::net::IpAddr;

use http::{HeaderMap, Uri};

use crate::model::QuotaKey;

/// The parts of the client's request from which strategies and passed-through headers are read.
#[derive(Debug, Clone)]
pub struct ClientRequest {
    pub headers: HeaderMap,
    pub uri: Uri,
    pub peer: IpAddr,
    /// Whom the limits count for it.
    pub quota: QuotaKey,
}
