//! Event streams that a client can resume: numbered, kept within bounds, and
//! written with ids by which the right one is found again.
//!
//! Hosts keep the streams of their servers' sessions; the edge keeps the one
//! stream of an aggregate, which has several servers behind it.

mod event_id;
pub mod response;
mod stream;

pub use event_id::{EventId, Tag, instance};
pub use response::Way;
pub use response::nobody_reads;
pub use stream::{Bounds, Item, Part, Reached, Reader, Stream};
