//! What the edge knows of a client's session, and what it sends to the client outside of requests.

pub mod client_session;
pub mod get_streams;
pub mod last_start;
pub mod loss_text;
pub mod notice;
pub mod opened;
pub mod recent_session;
mod rest;
pub mod sealed;
pub mod told;
