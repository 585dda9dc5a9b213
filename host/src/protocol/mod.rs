//! MCP on the wire: the only place that defines its header names, method names and error codes.
//!
//! Nothing here does IO. Messages are read through borrowed envelopes and changed by splicing
//! bytes, because a round trip through typed models loses what the model does not know.

#![warn(missing_docs)]

pub mod answer;
pub mod catalog;
pub mod checked;
pub mod claim_headers;
pub mod depth;
pub mod era;
pub mod error_kind;
pub mod glance;
pub mod headers;
pub mod http1;
pub mod initialize;
pub mod jsonrpc;
pub mod jwk;
pub mod jwt;
pub mod lenient;
pub mod log_level;
pub mod members;
pub mod methods;
pub mod objects;
pub mod own_id;
pub mod passing_answer;
pub mod passthrough;
pub mod proof;
#[cfg(test)]
mod properties;
pub mod request_id;
pub mod request_state;
pub mod scan;
pub mod seal;
pub mod splice;
pub mod sse;
pub mod strict;
pub mod trace_context;
pub mod uri;
pub mod usual_message;
pub mod version;
