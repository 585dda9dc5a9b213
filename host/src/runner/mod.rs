//! The runner: it runs MCP servers and offers one MCP endpoint for each.
//!
//! It neither routes nor merges. It holds a table of instances, one for each session
//! and server:
//!
//! ```text
//! open ──► Opening ──► Ready ──► gone   (closed, idle for too long, or died)
//!             │
//!             └──────► failed           (every waiting request fails; the slot is free)
//! ```
//!
//! Where sessions share a process (`shared_process`), each has a seat there
//! (`seat.rs`), which is an instance like any other. Messages pass through `mux.rs`,
//! and `id_map.rs` decides which session gets which.
//!
//! A message for an instance that is not there is answered `unknown-session`, and the
//! edge then opens the session: first use, failover and restart are the same path.

mod admission;
mod as_endpoint;
mod bridge;
mod catalog;
mod channel;
mod endpoint;
mod inspect;
mod overhearing;
mod process;
mod read_request;
mod reload;
mod remote;
mod restoration;
mod session;
mod shared;
mod shared_process;
mod stateless;
mod stderr;
mod stdio;
mod traced;
mod unserved;
mod upkeep;

pub use crate::protocol::catalog::Discovered;
pub use admission::backoff::ServerStatus;
pub use admission::process_limits::ProcessCaps;
pub use bridge::setting::EraSetting;
pub use catalog::discovery::Discovery;
pub use endpoint::Runner;
pub use process::child::Children;
pub use process::program::{Confinement, INHERITED, Program, Sandbox, User, Walls};
#[cfg(not(target_os = "linux"))]
pub use process::unsupervised::{forget_variables, guard_memory, supervise_if_asked, walls};
pub use shared::{RunnerConfig, SharedRunner};
pub use shared_process::process::{Sharers, Sharing};

pub use admission::server_state::ServerState;
pub use channel::error_counts::ErrorCounts;
pub use channel::terms::SessionLimits;
pub use channel::timeout::Timeouts;
pub use inspect::instances::{InstanceView, Phase, Tally};
pub use inspect::servers::Trouble;
pub use process::machine::Memory;
pub use process::pressure::{Pressure, Reading, open_files};
#[cfg(target_os = "linux")]
pub use process::supervisor::{forget_variables, guard_memory, supervise_if_asked, walls};
pub use process::{machine, usage};
pub use reload::trial::{TrialFailure, Tried};
pub use remote::sessionless::KeptClient;
pub use remote::upstream::Upstream;
pub use session::recycling::Recycling;
pub use session::served::{Recipe, START_TIMEOUT, Served, Servers, StatePrograms};
pub use session::slow_starts::SlowStarts;
pub use session::table::looking::Held;
pub use stderr::drain::STDERR_TARGET;
pub use stderr::journal::{Journal, Said};
pub use stderr::tail::Line;
pub use upkeep::drain::DrainRound;
pub use upkeep::drain_policy::{DrainClock, StayCounts};
