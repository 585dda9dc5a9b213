//! What the instances of servers do, on all nodes.
//!
//! Each node answers for itself. One that does not answer is listed as unreachable; the others'
//! answers are not affected.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use http::Request;
use serde::{Deserialize, Serialize};

use crate::cluster::coordinator::node_entry::{LeaseStatus, NodeEntry};
use crate::cluster::coordinator::registry::Registry;
use crate::model::{NodeId, Reach, ServerName};
use crate::net::{Body, collect, percent_encoded};
use crate::protocol::objects::object_only;
use crate::seam::Link;

use super::instances::{
    ErrorReport, InstanceCursor, InstancePage, InstanceQuery, InstanceReport, MOST_ERRORS,
    RunnerView, ServerHealth,
};

/// Longest wait for one node.
const NODE_TIMEOUT: Duration = Duration::from_secs(2);
/// Nodes that are asked at one time.
const AT_ONCE: usize = 16;
/// Bytes of one node's answer: a page of the most entries with the most lines fits.
const MAX_PAGE: usize = 32 << 20;
/// The most kinds of errors of all nodes; each has an equal share.
const MOST_ERRORS_OF_ALL: usize = 20_000;
/// Bytes of each word of such a kind; no name of a server is longer.
const MAX_WORD: usize = 256;

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
    /// Kinds of errors of other nodes that are not among these.
    pub more_errors: u64,
    /// Node and place after which the next page begins; `None` on the last.
    pub next: Option<(String, InstanceCursor)>,
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
    let entries = registry.entries().into_iter().filter(wanted).collect();
    gather(entries, (view, link), after, look, Extent::Page).await
}

/// Asks all nodes, those too whose instances find no room any more: of these it is told what their
/// servers are like, and what they have counted.
pub async fn overview_of_all(
    registry: &Registry,
    view: &Arc<dyn RunnerView>,
    link: &Link,
    look: InstanceQuery,
) -> Overview {
    gather(registry.entries(), (view, link), None, look, Extent::All).await
}

/// Which nodes are asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// Those that the page of instances needs.
    Page,
    All,
}

async fn gather(
    entries: Vec<NodeEntry>,
    (view, link): (&Arc<dyn RunnerView>, &Link),
    after: Option<(String, InstanceCursor)>,
    look: InstanceQuery,
    extent: Extent,
) -> Overview {
    let server = look.server.clone();
    let of_each = (MOST_ERRORS_OF_ALL / entries.len().max(1)).min(MOST_ERRORS);
    let is_full = AtomicBool::new(false);
    let asked = entries.into_iter().map(|entry| {
        let place = after.clone().filter(|(node, _)| *node == entry.id.as_str());
        let mut look = InstanceQuery { after: place.map(|(_, place)| place), ..look.clone() };
        if is_full.load(Ordering::Relaxed) {
            // As few as can be asked for.
            look.limit = 1;
        }
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
        for mut server in std::mem::take(&mut page.servers) {
            server.node = id.to_string();
            overview.servers.push(server);
        }
        if entry.reach != Reach::Local {
            overview.take_errors(id, &mut page, of_each);
        }
        let room = look.limit - overview.instances.len();
        let more = page.more || page.instances.len() > room;
        page.instances.truncate(room);
        for mut instance in page.instances {
            // A node may report only its own instances.
            instance.node = id.to_string();
            overview.instances.push(instance);
        }
        if overview.next.is_none() && (more || overview.instances.len() == look.limit) {
            overview.next = overview.instances.last().map(|last| (last.node.clone(), last.place()));
            is_full.store(true, Ordering::Relaxed);
        }
        if overview.next.is_some() && extent == Extent::Page {
            break;
        }
    }
    overview
}

impl Overview {
    /// Takes over what a node has counted: what came most often comes first.
    fn take_errors(&mut self, node: &NodeId, page: &mut InstancePage, most: usize) {
        let left_out = page.errors.len().saturating_sub(most) as u64;
        self.more_errors =
            self.more_errors.saturating_add(page.more_errors).saturating_add(left_out);
        for mut error in page.errors.drain(..).take(most) {
            for word in [&mut error.server, &mut error.emitter, &mut error.kind] {
                word.truncate(word.floor_char_boundary(MAX_WORD));
                word.shrink_to_fit();
            }
            self.errors.push((node.clone(), error));
        }
    }
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
