//! Clients of sessions at servers of the revision without them: the gateway plays the session.
//!
//! ```text
//! client ── mailbox, streams ── pipe ── session ─┬─ call: rounds of one request, its questions
//!                                                ├─ listening: what the server sends by itself
//!                                                └─ server ─┬─ http: an exchange for each request
//!                                                           └─ mux: one process for all sessions
//! ```
//!
//! To the rest of the runner such a server is one with a pipe: `session` reads what the session
//! sends, as a server would, and answers it. So lists, questions, timeouts and streams that are
//! resumed are those of every other server.

pub mod call;
pub mod discover;
pub mod eras;
pub mod exchange;
pub mod http;
pub mod listening;
pub mod mux;
pub mod passing;
pub mod process;
pub mod questions;
pub mod replaced;
pub mod server;
pub mod session;
pub mod setting;
pub mod talk;
pub mod tools;
