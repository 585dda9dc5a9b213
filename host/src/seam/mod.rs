//! The seam between edge and runner: one HTTP exchange, `http::Request` to `http::Response`,
//! whether the runner is in this process or in another one.
//!
//! ```text
//! edge ── Link ──┬── Endpoint::call        (this process, a function call)
//!                └── Pool ── /cluster/servers/{server}/mcp   (another node)
//! ```
//!
//! What the runner must know beyond the client's message are the [`Facts`]: an argument inside
//! the process, `mooring-*` headers between processes. What became of a message without an
//! answer is its [`Outcome`]; that alone decides whether the edge may send the message again.

#![warn(missing_docs)]

mod facts;
mod link;
mod setting_change;
mod state_step;
mod user_token_refused;

pub use facts::{
    Facts, Handshake, Outcome, Start, is_node_answer, is_token_refused, read_epoch, write_epoch,
    write_node_answer, write_token_refused,
};
pub use link::{CatalogQuery, Endpoint, Link, Outbound};
pub use setting_change::SettingChange;
pub use state_step::{StateStep, is_asked, mark_asked};
pub use user_token_refused::UserTokenRefused;

use crate::net::percent_encoded;

/// The revision of the protocol between coordinator and nodes, raised with each change that an
/// older process would misread.
pub const REVISION: u32 = 2;

/// The path under which a node serves one server to its coordinator. `tail` is the part after
/// the server's name: `mcp`, or `catalog` with its query.
#[must_use]
pub fn server_path(server: &crate::model::ServerName, tail: &str) -> String {
    format!("/cluster/servers/{}/{tail}", percent_encoded(server.as_str()))
}
