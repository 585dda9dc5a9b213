//! MCP on the wire: what every part agrees on, and the only place that knows
//! header names, method names and error codes.
//!
//! Nothing here does IO. Messages are looked at through borrowed envelopes and
//! changed by splicing bytes, because a round trip through typed models loses
//! what the model does not know.

pub mod catalog;
pub mod headers;
pub mod http1;
pub mod initialize;
pub mod jsonrpc;
pub mod methods;
#[cfg(test)]
mod properties;
pub mod request_id;
pub mod seal;
pub mod splice;
pub mod sse;
pub mod version;
