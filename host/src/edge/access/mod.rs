//! Step 2, admit: which requests are let in, from which origins, and how many sessions.

pub mod admit;
pub mod cors;
pub mod forwarded;
pub mod framing;
pub mod host;
pub mod local_key;
pub mod quota;
mod shut_out;
