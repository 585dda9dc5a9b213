//! The mode and its settings: `systemConfig.cluster`.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderName, Uri};

use crate::config::reader::headers;
use crate::config::reader::item::Item;
use crate::config::reader::reading::{credential, expand_item, expanded, secret_or_variable};
use crate::config::reader::secret::Secret;
use crate::config::reader::section::Section;
use crate::config::reader::source::Sources;
use crate::config::reader::urls::url::{self, UrlPurpose};
use crate::model::{NodeId, ServerName};

use super::store::{self, Store};

/// Shortest interval: with a shorter one, a brief stall would count as a dead node.
const MIN_INTERVAL_MS: u64 = 100;

/// Longest interval: a day.
const MAX_INTERVAL_MS: u64 = 24 * 3600 * 1000;

/// Node timeouts after which a server is not listed any more whose nodes are all away, if the file
/// does not say it: as long as a node is remembered that is gone.
const AWAY_TIMEOUTS: u32 = 10;
/// Default of `drainDeadline`. With the time that servers take to end, it fits into the 30 s that
/// Kubernetes gives a pod.
const DRAIN_DEADLINE: Duration = Duration::from_secs(25);

/// Variable with the token; overrides the file.
const TOKEN: &str = "MOORING_CLUSTER_TOKEN";

/// Bytes of a token below which a process beyond loopback does not start: whoever sees one proof
/// of a shorter one can guess it without asking again.
const MIN_TOKEN: usize = 16;

/// Longest affinity: seven days, after which a sealed session id expires.
const MAX_AFFINITY_MS: u64 = 7 * 24 * 3600 * 1000;

/// Bytes. More than any machine has, and the largest number that JSON readers in
/// JavaScript keep exact.
const MAX_FREE_MEMORY: u64 = 1 << 53;

/// Coordinators of one node.
const MAX_COORDINATORS: usize = 16;

/// Largest weight: beside a larger one, a replica of weight 1 would get no sessions in
/// practice.
pub(in crate::config) const MAX_WEIGHT: u64 = 1000;

/// The role of this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Serves clients and runs servers in one process, without a cluster.
    Standalone,
    /// Keeps the registry and routes clients to nodes.
    Coordinator(Coordinator),
    /// Runs servers and registers with a coordinator.
    Node(NodeMode),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coordinator {
    /// Time after a node's last heartbeat until it counts as unhealthy.
    pub node_timeout: Duration,
    /// Time for which the servers of a node that is away are still listed.
    pub away_timeout: Duration,
    /// Time between two rounds that remove dead nodes and expired affinity.
    pub cleanup_interval: Duration,
    /// Time without use after which affinity expires.
    pub sticky_session_timeout: Duration,
    /// The zone of this coordinator, for strategies; empty if unknown.
    pub zone: String,
    /// Client headers with credentials that a server on another node gets, if the node asks for
    /// them.
    pub passthrough_headers: BTreeMap<ServerName, Vec<HeaderName>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeMode {
    /// If absent, generated and kept in the data folder.
    pub id: Option<NodeId>,
    /// The hostname if absent.
    pub name: Option<String>,
    /// The coordinators to register with, at least one; they may have a base path, but no query.
    pub coordinator_urls: Vec<Uri>,
    pub heartbeat_interval: Duration,
    /// If false, the node waits for `POST /api/cluster/join`.
    pub register_on_startup: bool,
    /// URL at which the coordinator reaches this node; if absent, the address that the
    /// registration comes from and this node's port.
    pub advertise_url: Option<Uri>,
    /// The zone of this node, for strategies; empty if unknown.
    pub zone: String,
    /// Names and values for strategies, in file order.
    pub labels: Vec<(String, String)>,
    /// Default weight of the replicas on this node, 1 to 1000.
    pub weight: u16,
    /// Whether this node's own `/mcp` and `/api` are open as those of a standalone process.
    pub public: bool,
}

impl NodeMode {
    /// The coordinators' URLs, for people.
    #[must_use]
    pub fn coordinators(&self) -> String {
        let urls: Vec<String> = self.coordinator_urls.iter().map(Uri::to_string).collect();
        urls.join(" and ")
    }
}

/// The settings of `systemConfig.cluster` except `stickySession`.
pub(in crate::config) struct Cluster {
    pub mode: Mode,
    pub token: Option<Secret>,
    pub secret: Option<Secret>,
    /// Time without use after which affinity expires; applies in every mode.
    pub affinity_timeout: Duration,
    /// Bytes; applies in every mode.
    pub min_free_memory: Option<u64>,
    pub store: Store,
    /// Applies in every mode.
    pub drain_deadline: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Standalone,
    Coordinator,
    Node,
}

pub(in crate::config) fn read(cluster: &Section<'_>, sources: &Sources<'_>) -> Cluster {
    let role = role(cluster);
    let coordinator = cluster.section("coordinator").lenient_unless(role == Role::Coordinator);
    let node = cluster.section("node").lenient_unless(role == Role::Node);
    let shared = cluster.clone().lenient_unless(role != Role::Standalone);
    let coordinator = read_coordinator(&coordinator);
    let min_free_memory = min_free_memory(&node);
    let store = store::read(cluster, sources, role == Role::Coordinator);
    let node = read_node(&node, sources, role == Role::Node);
    Cluster {
        token: credential(&shared, "token", Some(TOKEN), sources),
        secret: secret_or_variable(cluster, "secret", "MOORING_SECRET", sources),
        affinity_timeout: coordinator.sticky_session_timeout,
        min_free_memory,
        store,
        drain_deadline: cluster
            .clone()
            .with_defaults()
            .millis("drainDeadline", 0..=MAX_INTERVAL_MS)
            .unwrap_or(DRAIN_DEADLINE),
        mode: match (role, node) {
            (Role::Coordinator, _) => Mode::Coordinator(coordinator),
            (Role::Node, Some(node)) => Mode::Node(node),
            // A node without a valid coordinatorUrl: the error is reported already.
            (Role::Standalone | Role::Node, _) => Mode::Standalone,
        },
    }
}

/// Refuses a short token. For processes that listen beyond loopback.
pub(in crate::config) fn refuse_short_token(
    section: &Section<'_>,
    cluster: &Cluster,
    sources: &Sources<'_>,
) {
    let Some(token) = &cluster.token else { return };
    let bytes = token.expose().len();
    if bytes >= MIN_TOKEN || cluster.mode == Mode::Standalone {
        return;
    }
    let message = format!(
        "is too short: {bytes} of at least {MIN_TOKEN} bytes, for a process that others reach"
    );
    let advice = "make one with `openssl rand -hex 32`, and set MOORING_CLUSTER_TOKEN to it on coordinator \
         and nodes";
    match section.get("token") {
        Some(item) if sources.variable(TOKEN).is_none() => item.refuse(message, advice),
        _ => section.notes.refuse_variable(TOKEN, message, advice),
    }
}

fn role(cluster: &Section<'_>) -> Role {
    let choices = [
        ("standalone", Role::Standalone),
        ("coordinator", Role::Coordinator),
        ("node", Role::Node),
    ];
    let enabled = cluster.flag("enabled", false);
    let section = cluster.clone().lenient_unless(enabled);
    let mode = section.choice("mode", "mode", &choices);
    if enabled {
        return mode.unwrap_or(Role::Standalone);
    }
    if cluster.get("enabled").is_none() && mode.is_some_and(|mode| mode != Role::Standalone) {
        let message = "is not set, so this process runs standalone";
        let place = cluster.place.key("enabled", cluster.place.at);
        let advice = "add \"enabled\": true to the cluster section";
        cluster.notes.warn(&place, message, advice);
    }
    Role::Standalone
}

fn read_coordinator(strict: &Section<'_>) -> Coordinator {
    let section = &strict.clone().with_defaults();
    let interval = |key, default| {
        section
            .millis(key, MIN_INTERVAL_MS..=MAX_INTERVAL_MS)
            .unwrap_or(Duration::from_millis(default))
    };
    let node_timeout = interval("nodeTimeout", 15_000);
    let away_timeout = section.millis("awayTimeout", 0..=MAX_INTERVAL_MS);
    Coordinator {
        node_timeout,
        away_timeout: away_timeout.unwrap_or(node_timeout * AWAY_TIMEOUTS),
        cleanup_interval: interval("cleanupInterval", 30_000),
        sticky_session_timeout: section
            .millis("stickySessionTimeout", MIN_INTERVAL_MS..=MAX_AFFINITY_MS)
            .unwrap_or(Duration::from_hours(1)),
        zone: section.text("zone").unwrap_or_default(),
        passthrough_headers: passthrough_headers(strict),
    }
}

fn passthrough_headers(section: &Section<'_>) -> BTreeMap<ServerName, Vec<HeaderName>> {
    let mut headers = BTreeMap::new();
    for (name, item) in section.entries("passthroughHeaders") {
        match ServerName::parse(name) {
            Ok(server) => {
                headers.insert(server, headers::list_of_cluster(&item));
            }
            Err(error) => item.refuse(error.to_string(), "name a server of the cluster"),
        }
    }
    headers
}

/// The coordinators: one URL, or a list of them. `None` if there is none that is valid.
fn coordinator_urls(section: &Section<'_>, sources: &Sources<'_>) -> Option<Vec<Uri>> {
    let item = section.get("coordinatorUrl")?;
    if !item.is_list() {
        return Some(vec![base_url(section, "coordinatorUrl", |_| true, sources)?]);
    }
    let items = item.items();
    if items.is_empty() || items.len() > MAX_COORDINATORS {
        let advice = format!("list 1 to {MAX_COORDINATORS} URLs");
        item.refuse(format!("lists {} coordinators", items.len()), advice);
        return None;
    }
    let urls = items.iter().map(|item| {
        let text = expand_item(item, &item.text()?, sources)?;
        checked_url(item, &text)
    });
    let urls: Vec<Option<Uri>> = urls.collect();
    let mut urls: Vec<Uri> = urls.into_iter().collect::<Option<_>>()?;
    let mut seen = std::collections::HashSet::new();
    urls.retain(|url| seen.insert(url.to_string()));
    Some(urls)
}

/// The node's settings; `None` if `coordinatorUrl` is missing or not valid.
fn read_node(section: &Section<'_>, sources: &Sources<'_>, used: bool) -> Option<NodeMode> {
    let coordinator_urls = coordinator_urls(section, sources);
    if used && section.get("coordinatorUrl").is_none() {
        let advice = "add \"coordinatorUrl\": \"http://coordinator:3000\" to the node section";
        section.refuse_key("coordinatorUrl", "is required in node mode", advice);
    }
    let filled = |text: &str| !text.is_empty();
    let values = section.clone().with_defaults();
    let weight = values.whole("weight", 1, 1..=MAX_WEIGHT);
    let heartbeat = values.millis("heartbeatInterval", MIN_INTERVAL_MS..=MAX_INTERVAL_MS);
    let node = NodeMode {
        id: node_id(section, sources),
        name: expanded(section, "name", sources).filter(|name| filled(name)),
        coordinator_urls: coordinator_urls.clone().unwrap_or_default(),
        heartbeat_interval: heartbeat.unwrap_or(Duration::from_secs(5)),
        register_on_startup: values.flag("registerOnStartup", true),
        advertise_url: base_url(section, "advertiseUrl", filled, sources),
        zone: expanded(section, "zone", sources).unwrap_or_default(),
        labels: labels(&values, sources),
        weight: u16::try_from(weight).unwrap_or(1),
        public: values.flag("public", false),
    };
    // All keys are read in either case, so that every mistake is found.
    coordinator_urls.map(|_| node)
}

/// The base URL of another Mooring; `None` unless the expanded text is wanted, so that
/// `${ADVERTISE_URL:-}` may leave it out.
fn base_url(
    section: &Section<'_>,
    key: &str,
    wanted: impl Fn(&str) -> bool,
    sources: &Sources<'_>,
) -> Option<Uri> {
    let item = section.get(key)?;
    let text = expanded(section, key, sources).filter(|text| wanted(text))?;
    checked_url(&item, &text)
}

fn checked_url(item: &Item<'_>, text: &str) -> Option<Uri> {
    url::parse(text, UrlPurpose::Base)
        .map_err(|problem| item.refuse(problem, "write it like http://coordinator:3000"))
        .ok()
}

fn node_id(section: &Section<'_>, sources: &Sources<'_>) -> Option<NodeId> {
    let id = expanded(section, "id", sources).filter(|id| !id.is_empty())?;
    let item = section.get("id")?;
    if id == NodeId::coordinator().as_str() {
        let advice = "choose another id, or leave it out to have one generated";
        item.refuse("is reserved for the coordinator", advice);
        return None;
    }
    NodeId::parse(&id)
        .map_err(|error| item.refuse(error.to_string(), "leave it out to have one generated"))
        .ok()
}

fn labels(section: &Section<'_>, sources: &Sources<'_>) -> Vec<(String, String)> {
    let mut labels = Vec::new();
    for (name, item) in section.entries("labels") {
        if name.is_empty() || name.contains(char::is_control) {
            item.refuse("is not a valid label name", "use printable characters");
        } else if let Some(text) = item.text()
            && let Some(value) = expand_item(&item, &text, sources)
        {
            labels.push((name.to_owned(), value));
        }
    }
    labels
}

/// Bytes of free memory.
fn min_free_memory(node: &Section<'_>) -> Option<u64> {
    node.get("minFreeMemory")?.whole(0..=MAX_FREE_MEMORY)
}
