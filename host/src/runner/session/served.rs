//! A server as this runner runs it: how it is started, and within what limits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderName;

use crate::model::{Selection, ServerName};
use crate::runner::bridge::setting::EraSetting;
use crate::runner::channel::timeout::Timeouts;
use crate::runner::process::program::Program;
use crate::runner::remote::sessionless::KeptClient;
use crate::runner::remote::upstream::Upstream;
use crate::runner::shared_process::process::{Sharers, Sharing};

use super::recycling::Recycling;

/// Default of `startTimeoutMs`: npx and uvx may install the server first.
pub const START_TIMEOUT: Duration = Duration::from_secs(180);

/// How to start a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipe {
    Stdio(Program),
    Http(Upstream),
    /// HTTP+SSE, the transport of 2024-11-05.
    Sse(Upstream),
    /// Streamable HTTP, or HTTP+SSE if the server does not speak that.
    HttpOrSse(Upstream),
    /// Its configuration is wrong, for this reason.
    Broken(String),
}

/// One server and its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    pub recipe: Recipe,
    pub timeouts: Timeouts,
    /// The client's headers that are passed on to a remote server.
    pub passthrough: Vec<HeaderName>,
    /// The claims of the client's token that a remote server gets: the header by which the edge is
    /// asked for one, and the header that the server gets.
    pub claims: Vec<(HeaderName, HeaderName)>,
    /// Whether the client's token is exchanged for one of the server's.
    pub exchanges: bool,
    /// Whether each user logs in, so that requests carry a token of their client's user.
    pub logs_in: bool,
    /// Longest time from its start to its answer to `initialize`. For a process, it
    /// begins when its turn has come.
    pub start_timeout: Duration,
    /// An instance that is unused for this long is ended, even if a client listens,
    /// unless it is subscribed to resources. With `None`, the runner's default applies,
    /// and a listener counts as use.
    pub idle: Option<Duration>,
    /// When an instance is replaced for its age or memory.
    pub recycling: Recycling,
    /// Processes that are started before a session needs them.
    pub warm: usize,
    /// Whether a session ends when its instance is lost. Instances of such a server are
    /// never ended to make room.
    pub ends_when_lost: bool,
    /// Whether sessions share a process. A remote server keeps its sessions apart itself.
    pub sharing: Sharing,
    /// The revisions in which it is used.
    pub era: EraSetting,
    /// Which sessions share a process of it, where it is used without sessions.
    pub modern_sharers: Sharers,
    /// What this process's file hides of it; the edge merges those of all nodes.
    pub selection: Option<Arc<Selection>>,
    /// The programs that write and read its state. `None` if it has none.
    pub state: Option<StatePrograms>,
    /// Sends the requests of clients without sessions to a remote server.
    pub sessionless: KeptClient,
}

/// Programs that write and read a server's state; each runs as the server does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatePrograms {
    pub save: Option<Program>,
    pub restore: Option<Program>,
    /// Longest time for one of them.
    pub timeout: Duration,
    /// Largest state, in bytes.
    pub most_bytes: usize,
}

/// The servers of this process by name. One that a reload has not changed keeps its entry.
pub type Servers = BTreeMap<ServerName, Arc<Served>>;
/// The servers as they are now; a reload replaces them.
pub type CurrentServers = Arc<ArcSwap<Servers>>;

impl Served {
    /// Whether an instance that was opened with these settings can go on with the other ones: what
    /// differs is looked up whenever it is needed.
    #[must_use]
    pub fn goes_on_with(&self, other: &Self) -> bool {
        let shares = self.sharing.is_on() || other.sharing.is_on();
        self.recipe == other.recipe
            && self.timeouts == other.timeouts
            && self.passthrough == other.passthrough
            && self.era == other.era
            && self.modern_sharers == other.modern_sharers
            && self.claims == other.claims
            && self.exchanges == other.exchanges
            && self.logs_in == other.logs_in
            && (!shares || self.sharing == other.sharing)
    }

    /// Whether anything of a client's requests is passed on.
    #[must_use]
    pub fn passes_headers(&self) -> bool {
        self.exchanges || self.logs_in || !(self.passthrough.is_empty() && self.claims.is_empty())
    }

    /// Whether each client has a token of its own there.
    #[must_use]
    pub fn is_of_each_client(&self) -> bool {
        self.exchanges || self.logs_in
    }

    /// Spare processes to keep. Only sessions that do not share a process use them.
    #[must_use]
    pub fn spares(&self) -> usize {
        let shares = self.sharing.is_on() || self.era == EraSetting::Modern;
        if shares { 0 } else { self.warm }
    }
}
