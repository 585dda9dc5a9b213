//! Servers behind a URL, over Streamable HTTP and HTTP+SSE.

pub mod answers;
pub mod call;
pub mod cookies;
pub mod errors;
pub mod gathered;
pub mod http;
pub mod instead;
pub mod judged;
pub mod left_calls;
pub mod reader;
pub mod redirects;
pub mod sending;
pub mod session;
pub mod sessionless;
pub mod sse;
pub mod taking;
pub mod upstream;
