//! A server as it is run here: how it is started, within what limits, and with
//! what all servers of the host have in common.

use std::time::Duration;

use http::HeaderName;

use crate::runner::channel::timeout::Timeouts;
use crate::runner::process::program::Program;
use crate::runner::remote::upstream::Upstream;
use crate::runner::shared_process::process::Sharing;

use super::recycling::Recycling;

/// npx and uvx may install the server first.
pub const START_TIMEOUT: Duration = Duration::from_secs(180);

/// How to start a server.
#[derive(Debug, Clone)]
pub enum Recipe {
    Stdio(Program),
    Http(Upstream),
    /// HTTP+SSE, the transport of 2024-11-05.
    Sse(Upstream),
    /// The first that works, Streamable HTTP before HTTP+SSE.
    HttpOrSse(Upstream),
    /// Its configuration is wrong; the reason.
    Broken(String),
}

/// One server, as it is run here.
#[derive(Debug, Clone)]
pub struct Served {
    pub recipe: Recipe,
    pub timeouts: Timeouts,
    /// Headers of the client that reach a remote server.
    pub passthrough: Vec<HeaderName>,
    /// Longest time from its start to its answer to `initialize`.
    pub start_timeout: Duration,
    /// An instance that is not used for so long is ended, whoever listens; else
    /// the host's default holds.
    pub idle: Option<Duration>,
    /// When an instance is ended at a quiet point.
    pub recycling: Recycling,
    /// Processes kept ahead of their first session.
    pub warm: usize,
    /// Whether its sessions end when what it held for them is lost: then nothing of
    /// it gives way to others.
    pub ends_when_lost: bool,
    /// Of a server with a process; a remote one keeps its sessions apart itself.
    pub sharing: Sharing,
}

impl Served {
    /// Processes to keep ahead: only a session with a process of its own takes one.
    #[must_use]
    pub fn spares(&self) -> usize {
        if self.sharing.is_on() { 0 } else { self.warm }
    }
}
