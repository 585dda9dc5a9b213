//! The transports that clients use, Streamable HTTP and HTTP+SSE: they hand each message to step 4.

pub mod begin;
pub mod legacy_sse;
pub mod sse_events;
pub mod sse_session;
pub mod streamable;
pub mod whole;
