//! What the instances of servers do, on one node or on all.
//!
//! A node answers for itself ([`RunnerView`]); a process with a registry asks all of its
//! nodes. One that does not answer is listed as unreachable; the others' answers are
//! not affected.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use http::Request;
use serde::{Deserialize, Serialize};

use crate::cluster::coordinator::node_entry::{LeaseStatus, NodeEntry};
use crate::cluster::coordinator::registry::Registry;
use crate::model::{NodeId, Reach, ServerName};
use crate::net::{Body, collect, percent_encoded};
use crate::protocol::objects::object_only;
use crate::seam::Link;

/// Longest wait for one node.
const NODE_TIMEOUT: Duration = Duration::from_secs(2);
/// Nodes that are asked at one time.
const AT_ONCE: usize = 16;
/// Bytes of one node's answer: a page of the most entries with the most lines fits.
const MAX_PAGE: usize = 32 << 20;
/// The most entries of one answer.
pub const MOST_INSTANCES: usize = 500;
/// Entries of one answer if the caller gives no number.
pub const USUAL_INSTANCES: usize = 100;
/// The most stderr lines of one entry; no more are kept of a process.
pub const MOST_LINES: usize = 50;
/// The most kinds of errors of one node.
pub const MOST_ERRORS: usize = 100;
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
#[serde(default)]
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
}
object_only!(both InstancePage);

/// A node that could not be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Unreachable {
    pub node: String,
    pub reason: String,
}
object_only!(both Unreachable);

/// Instances of several nodes, in the order of node ids and places.
#[derive(Debug, Default)]
pub struct Overview {
    pub instances: Vec<InstanceReport>,
    /// Servers of each node whose first page is included.
    pub servers: Vec<ServerHealth>,
    pub unreachable: Vec<Unreachable>,
    /// What other nodes have counted, with their ids.
    pub errors: Vec<(NodeId, ErrorReport)>,
    /// Node and place after which the next page begins; `None` on the last.
    pub next: Option<(String, InstanceCursor)>,
}

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

/// Asks all nodes, or only `node`. `after` is `next` of the previous page.
pub async fn overview(
    registry: &Registry,
    view: &Arc<dyn RunnerView>,
    link: &Link,
    node: Option<&NodeId>,
    after: Option<(String, InstanceCursor)>,
    look: InstanceQuery,
) -> Overview {
    let begun =
        |entry: &NodeEntry| after.as_ref().is_none_or(|(node, _)| entry.id.as_str() >= &**node);
    let wanted = |entry: &NodeEntry| node.is_none_or(|node| *node == entry.id) && begun(entry);
    let entries: Vec<NodeEntry> = registry.entries().into_iter().filter(wanted).collect();
    let server = look.server.clone();
    let asked = entries.into_iter().map(|entry| {
        let place = after.clone().filter(|(node, _)| *node == entry.id.as_str());
        let look = InstanceQuery { after: place.map(|(_, place)| place), ..look.clone() };
        async move {
            let page = ask(&entry, view, link, look).await;
            (entry, page)
        }
    });
    let mut answers = stream::iter(asked).buffered(AT_ONCE);
    let mut overview = Overview::default();
    while let Some((entry, page)) = answers.next().await {
        let id = &entry.id;
        let mut page = match page {
            Ok(page) => page,
            Err(reason) => {
                overview.servers.extend(of_unreachable(&entry, server.as_ref(), &reason));
                overview.unreachable.push(Unreachable { node: id.to_string(), reason });
                continue;
            }
        };
        for mut server in page.servers {
            server.node = id.to_string();
            overview.servers.push(server);
        }
        if entry.reach != Reach::Local {
            let counted = page.errors.into_iter().take(MOST_ERRORS);
            overview.errors.extend(counted.map(|error| (id.clone(), error)));
        }
        let room = look.limit - overview.instances.len();
        let more = page.more || page.instances.len() > room;
        page.instances.truncate(room);
        for mut instance in page.instances {
            // A node may report only its own instances.
            instance.node = id.to_string();
            overview.instances.push(instance);
        }
        if more || overview.instances.len() == look.limit {
            overview.next = overview.instances.last().map(|last| (last.node.clone(), last.place()));
            break;
        }
    }
    overview
}

/// The servers of a node that does not answer, unless nobody expects it.
fn of_unreachable(entry: &NodeEntry, only: Option<&ServerName>, reason: &str) -> Vec<ServerHealth> {
    let is_expected =
        entry.status == LeaseStatus::Active || entry.away.is_some_and(|(away, _)| away.is_listed);
    let why = match entry.away {
        Some((away, _)) => {
            format!("node {} {} {}", entry.id, away.how.text(), away.since.iso8601())
        }
        None => format!("node {} is unreachable: {reason}", entry.id),
    };
    let servers = entry.servers.keys().filter(|name| only.is_none_or(|only| only == *name));
    let health = servers.filter(|_| is_expected).map(|name| ServerHealth {
        server: name.to_string(),
        node: entry.id.to_string(),
        status: "unreachable".to_owned(),
        last_error: Some(why.clone()),
        ..ServerHealth::default()
    });
    health.collect()
}

async fn ask(
    entry: &NodeEntry,
    view: &Arc<dyn RunnerView>,
    link: &Link,
    look: InstanceQuery,
) -> Result<InstancePage, String> {
    if look.server.as_ref().is_some_and(|server| !entry.servers.contains_key(server)) {
        return Ok(InstancePage::default());
    }
    if entry.reach == Reach::Local {
        return Ok(view.instances(look).await);
    }
    if entry.status != LeaseStatus::Active {
        return Err(format!("it is {}", entry.status.as_str()));
    }
    let mut path = format!("/cluster/instances?limit={}&lines={}", look.limit, look.lines);
    for (name, value) in [
        ("server", look.server.map(|server| server.to_string())),
        ("after", look.after.map(|place| place.to_string())),
    ] {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", percent_encoded(&value)));
        }
    }
    let exchange = async {
        let request = Request::new(Body::Empty);
        let response =
            link.remote(&entry.url, &path, request).await.map_err(|failure| failure.to_string())?;
        if !response.status().is_success() {
            return Err(format!("it answered {}", response.status()));
        }
        let body = collect(response.into_body(), MAX_PAGE).await.map_err(|e| e.to_string())?;
        serde_json::from_slice(&body).map_err(|error| format!("its answer is invalid: {error}"))
    };
    tokio::time::timeout(NODE_TIMEOUT, exchange)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} s", NODE_TIMEOUT.as_secs())))
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
