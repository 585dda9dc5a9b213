//! Event streams that a client can resume: their messages are numbered, kept within bounds, and
//! written with ids by which the stream is found again.
//!
//! A runner keeps the streams of its servers' sessions. The edge keeps the GET stream of an
//! aggregate, which has several servers behind it.

mod event_id;
mod kept;
pub mod response;
mod stream;

pub use event_id::{EventId, Tag, instance};
pub use kept::{KeptAnswers, KeptOfKey};
pub use response::Way;
pub use response::unread_question;
pub use stream::reader::Reader;
pub use stream::{Bounds, Part, Reached, Stream, StreamItem};
