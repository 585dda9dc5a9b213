//! The seam between edge and host: one HTTP exchange, `http::Request` to
//! `http::Response`, whether the host is this process or another one.
//!
//! ```text
//! edge ── Link ──┬── Endpoint::call        (this process, a function call)
//!                └── Pool ── /cluster/servers/{server}/mcp   (another node)
//! ```
//!
//! What the host must know beyond the client's message are the [`Facts`]: an
//! argument inside the process, `mooring-*` headers between processes. What
//! became of a message that got no answer is the [`Outcome`]; only that decides
//! whether the edge may send it again.

mod facts;
mod link;
mod note;

pub use facts::{Facts, Handshake, Outcome, Start};
pub use link::{Endpoint, Link};
pub use note::Note;

use crate::net::percent_encoded;

/// Of what coordinator and nodes say to each other: raised with each change that
/// an older one would misread.
pub const REVISION: u32 = 1;

/// Path under which a node serves one server to its coordinator.
#[must_use]
pub fn server_path(server: &crate::model::ServerName, tail: &str) -> String {
    format!("/cluster/servers/{}/{tail}", percent_encoded(server.as_str()))
}
