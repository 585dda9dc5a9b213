//! State that comes along: what a server holds for a session is kept beside it, by calls that set
//! it or by what the server saves, and brought back to a new instance before it serves the client.
//!
//! ```text
//! a call ─► tracked ─► deliver ─► follow: its answer ─► the log (store) ─► saving, when it is quiet
//! an open ─► restoring: turn ─► held instance ─► restore, repeat ─► released ─► told
//! ```
//!
//! All of it is beside the path of servers without `state`.

pub mod activity;
pub mod answer_kind;
pub mod arguments;
pub mod deliver_tracked;
pub mod follow;
pub mod keepers;
pub mod kept_state;
pub mod outcome;
pub mod restoring;
pub mod saving;
pub mod steps;
pub mod tracked;
pub mod turns;
