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
mod backoff;
mod caller;
mod caps;
mod child;
mod common_lists;
mod complaints;
mod cookies;
#[cfg(not(target_os = "linux"))]
mod direct;
mod discovery;
mod doors;
mod endpoint;
mod exchange;
mod giving_way;
mod hub;
mod ids;
mod inbox;
mod instance;
mod journal;
mod launch;
mod life;
pub mod machine;
mod mailbox;
mod memory;
mod notes;
mod open_error;
mod opening;
mod overlong;
mod pipe;
mod pump;
mod questions;
mod recycle;
mod remote_call;
mod remote_errors;
mod remote_http;
mod remote_sse;
mod replies;
mod seat;
mod served;
mod sight;
mod spares;
mod starts;
mod states;
mod stderr;
mod stdio;
#[cfg(target_os = "linux")]
mod supervisor;
mod switchboard;
mod table;
mod tail;
mod taker;
mod tend;
mod timeout;
mod upstream;
pub mod usage;

pub use backoff::Status;
pub use caps::Limits;
pub use child::{Children, Confinement, Program, User};
#[cfg(not(target_os = "linux"))]
pub use direct::supervise_if_asked;
pub use discovery::{Discovered, Discovery};
pub use endpoint::{Host, HostConfig, Shared};
pub use hub::{Sharers, Sharing};

pub use journal::{Journal, Said};
pub use machine::Memory;
pub use pipe::Rules;
pub use recycle::Recycling;
pub use served::{Recipe, START_TIMEOUT, Served};
pub use sight::{Phase, Seen, Tally};
pub use starts::ServerState;
#[cfg(target_os = "linux")]
pub use supervisor::supervise_if_asked;
pub use table::Held;
pub use tail::Line;
pub use timeout::Timeouts;
pub use upstream::Upstream;
