//! Step 4, the transports that clients speak: Streamable HTTP, and HTTP+SSE.

pub mod begin;
pub mod legacy_sse;
pub mod sse_events;
pub mod sse_session;
pub mod streamable;
