//! What is done about instances while they live: idle ones end, old ones are replaced, full
//! nodes make room.

pub mod eviction;
pub mod sweep;
pub mod watch;
