//! The host part: it runs MCP servers and offers one MCP endpoint for each.
//!
//! It routes nothing and merges nothing. What it holds is a table of instances,
//! one per (session, server):
//!
//! ```text
//! open ──► Opening ──► Ready ──► gone   (closed, idle for too long, or died)
//!             │
//!             └──────► failed           (whoever waited is told; the slot is free)
//! ```
//!
//! Where sessions share a process, each has a seat there (`seat.rs`), which is
//! an instance like any other; the process belongs to a hub (`hub.rs`), and who
//! gets what (`exchange.rs`) is decided in `switchboard.rs`.
//!
//! A message for a slot that is not there is answered `unknown-session`, and the
//! edge opens it: first use, failover and restart are the same path.

mod attend;
mod caller;
mod child;
mod common_lists;
mod cookies;
#[cfg(not(target_os = "linux"))]
mod direct;
mod discovery;
mod endpoint;
mod exchange;
mod hub;
mod inbox;
mod instance;
mod mailbox;
mod notes;
mod overlong;
mod pipe;
mod pump;
mod remote_http;
mod remote_sse;
mod seat;
mod stdio;
#[cfg(target_os = "linux")]
mod supervisor;
mod switchboard;
mod table;
mod timeout;
mod upstream;

pub use child::{Children, Confinement, Program, User};
#[cfg(not(target_os = "linux"))]
pub use direct::supervise_if_asked;
pub use discovery::{Discovered, Discovery};
pub use endpoint::{Host, HostConfig, Shared};
pub use hub::{Sharers, Sharing};
pub use instance::{Recipe, Served};
pub use pipe::Rules;
#[cfg(target_os = "linux")]
pub use supervisor::supervise_if_asked;
pub use table::Held;
pub use timeout::Timeouts;
pub use upstream::Upstream;
