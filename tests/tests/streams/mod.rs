//! Event streams of both transports: answers, GET streams, resumption, batches.

pub mod answers;
pub mod batches;
pub mod following;
pub mod get_stream;
pub mod legacy_sse;
pub mod legacy_sse_back;
pub mod legacy_sse_cluster;
pub mod listening;
pub mod sse_memory;
