//! What the instances of servers do on one node, as it says it of itself ([`RunnerView`]).

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::model::ServerName;
use crate::protocol::objects::object_only;

/// The most entries of one answer.
pub const MOST_INSTANCES: usize = 500;
/// Entries of one answer if the caller gives no number.
pub const USUAL_INSTANCES: usize = 100;
/// The most stderr lines of one entry; no more are kept of a process.
pub const MOST_LINES: usize = 50;
/// The most kinds of errors of one node: a server has at most some twenty.
pub const MOST_ERRORS: usize = 1000;
/// Stderr lines of one entry if the caller gives no number.
pub const USUAL_LINES: usize = 5;

/// Which instances to list.
#[derive(Debug, Clone)]
pub struct InstanceQuery {
    /// Only those of this server.
    pub server: Option<ServerName>,
    /// Only those after this place.
    pub after: Option<InstanceCursor>,
    /// 1 to [`MOST_INSTANCES`].
    pub limit: usize,
    /// Stderr lines of each, at most [`MOST_LINES`].
    pub lines: usize,
}

/// Position in the order of a node's instances, used to continue with the next page.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct InstanceCursor {
    pub server: String,
    /// Unix ms.
    pub started_at: u64,
    /// Shortened id of its first session; the process of one without any.
    pub session: String,
}

impl InstanceCursor {
    /// Reads `{server}/{started at}/{session}`; a server's name may contain slashes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (rest, session) = text.rsplit_once('/')?;
        let (server, started_at) = rest.rsplit_once('/')?;
        let (server, session) = (server.to_owned(), session.to_owned());
        Some(Self { server, started_at: started_at.parse().ok()?, session })
    }
}

impl std::fmt::Display for InstanceCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.server, self.started_at, self.session)
    }
}

/// One instance of a server. Times are Unix ms.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
#[serde(rename_all = "camelCase", default)]
pub struct InstanceReport {
    pub server: String,
    pub node: String,
    /// `None` for a remote server, and until the process has started.
    pub pid: Option<u32>,
    pub transport: String,
    pub state: String,
    /// Shortened ids; at most as many as a page has entries.
    pub sessions: Vec<String>,
    pub session_count: usize,
    pub started_at: u64,
    pub last_used: u64,
    /// Of the process and everything below it.
    pub rss_bytes: Option<u64>,
    /// Of the process and everything below it.
    pub cpu_ms: Option<u64>,
    /// How often the process of its session, or of its sessions, has ended by itself before.
    pub restarts: u64,
    /// Oldest first.
    pub stderr: Vec<StderrLine>,
}
object_only!(both InstanceReport);

impl InstanceReport {
    /// Where it stands in the order of its node's instances.
    #[must_use]
    pub fn place(&self) -> InstanceCursor {
        InstanceCursor {
            server: self.server.clone(),
            started_at: self.started_at,
            session: self
                .sessions
                .first()
                .cloned()
                .unwrap_or_else(|| self.pid.map(|pid| pid.to_string()).unwrap_or_default()),
        }
    }
}

/// A line that a server wrote to stderr, without its line break.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
#[serde(default)]
pub struct StderrLine {
    /// Unix ms.
    pub at: u64,
    pub text: String,
}
object_only!(both StderrLine);

/// Whether one server can run on one node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
#[serde(rename_all = "camelCase", default)]
pub struct ServerHealth {
    pub server: String,
    pub node: String,
    /// `running` (also if the server starts when it is needed), `starting`, `backoff`,
    /// `crash-loop`, `needs-oauth` or `misconfigured`; `unreachable` if its node does not answer.
    pub status: String,
    /// Failed starts in a row; an early exit counts as one.
    pub failures: u32,
    /// Milliseconds until the server may be started again.
    pub next_attempt_ms: Option<u64>,
    pub last_error: Option<String>,
    /// What is wrong with what the server answers, although it runs.
    pub flaws: Vec<String>,
}
object_only!(both ServerHealth);

/// Errors of one kind that clients got from a server, or from its node in its place, since the node's
/// process began.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
#[serde(default)]
pub struct ErrorReport {
    pub server: String,
    /// `server` or `node`.
    pub emitter: String,
    pub kind: String,
    pub count: u64,
}
object_only!(both ErrorReport);

/// Answer to `GET /cluster/instances`, in the order of [`InstanceCursor`].
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(remote = "Self")]
#[serde(rename_all = "camelCase", default)]
pub struct InstancePage {
    pub instances: Vec<InstanceReport>,
    /// Whether more instances follow.
    pub more: bool,
    /// All servers of the node, on its first page only.
    pub servers: Vec<ServerHealth>,
    /// The errors of its servers, those that came most often first; on its first page only, and not
    /// from nodes of earlier versions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ErrorReport>,
    /// Kinds of errors that are not among these.
    pub more_errors: u64,
}
object_only!(both InstancePage);

/// Which lines of a log to return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// This number of the last lines.
    Last(usize),
    /// All lines after the line with this number.
    After(u64),
}

/// What can be observed of this process's own runner.
pub trait RunnerView: Send + Sync {
    /// One page of the runner's instances.
    fn instances(&self, look: InstanceQuery) -> BoxFuture<'static, InstancePage>;

    /// Whether the runner hosts the server.
    fn hosts(&self, server: &ServerName) -> bool;

    /// Stderr lines of the server's processes; with `follow`, also those to come.
    fn log(
        &self,
        server: ServerName,
        since: Since,
        follow: bool,
    ) -> BoxStream<'static, super::log_event::LogEvent>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_its_text_whatever_the_servers_name() {
        let place =
            InstanceCursor { server: "a/b c".into(), started_at: 7, session: "0a1b2c3d".into() };
        assert_eq!(InstanceCursor::parse(&place.to_string()), Some(place));
        assert_eq!(InstanceCursor::parse("a/b"), None);
    }
}
