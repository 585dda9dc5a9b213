//! The transports that clients use, Streamable HTTP and HTTP+SSE: they hand each message to step 4.

pub mod begin;
pub mod legacy_sse;
pub mod modern;
pub mod request_ids;
pub mod sse_events;
pub mod sse_open;
pub mod sse_session;
pub mod sse_stream;
pub mod streamable;
pub mod whole;
