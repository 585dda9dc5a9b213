//! The MCP servers of this process: `mcpServers`.

mod claim_headers;
pub mod confinement;
mod entry_env;
mod kind;
pub mod login;
pub mod oauth;
mod oauth_members;
pub mod other_systems;
pub mod sandbox;
pub mod server_tls;
pub mod shown_tools;
mod switched;
pub mod timeouts;
pub mod transport;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use http::HeaderName;
use jsonc_parser::ast::Value;
use jsonc_parser::common::Ranged;

use crate::config::reader::document::refuse_duplicates;
use crate::config::reader::headers;
use crate::config::reader::item::Item;
use crate::config::reader::known_keys::is_note;
use crate::config::reader::place::EntryProblems;
use crate::config::reader::section::Section;
use crate::config::reader::source::Sources;
use crate::config::reader::words::switches;
use crate::config::reader::words::tool_lists::Listed;
use crate::model::ServerName;

use self::shown_tools::{ALL_OTHERS, EntrySettings, Selections};
use self::timeouts::{MAX_TIMEOUT_MS, RequestOptions};
use self::transport::Transport;
use super::allowed_domains;
use super::cluster::MAX_WEIGHT;
use super::server_lists;
use super::state::StateSettings;

/// Warm processes of one server.
const MAX_WARM: u64 = 64;

/// The largest value of `limits.childrenPerServer`.
const MAX_INSTANCES: u64 = 100_000;
/// Milliseconds of 366 days.
const MAX_LIFETIME_MS: u64 = 366 * 24 * 3600 * 1000;
/// Bytes: no server runs with less.
const MIN_MEMORY: u64 = 1 << 20;
/// Bytes: the largest number that JSON readers in JavaScript keep exact.
const MAX_MEMORY: u64 = 1 << 53;

/// One entry of `mcpServers`. `Debug` prints no argument, variable or header.
#[derive(Clone, PartialEq, Eq)]
pub struct Server {
    pub name: ServerName,
    pub enabled: bool,
    /// `None` only if `misconfigured` has the reason.
    pub transport: Option<Transport>,
    /// What the entry runs, for people: as in the file, before expansion, with secrets
    /// masked.
    pub shown: String,
    pub tools: Selections,
    pub prompts: Selections,
    pub resources: Selections,
    pub options: RequestOptions,
    /// Why this server cannot run; the other servers can.
    pub misconfigured: Option<String>,
    /// Headers of client requests that reach the server; all others are dropped.
    pub passthrough_headers: Vec<HeaderName>,
    /// Headers that carry a claim of the client's token, each with the claim's name.
    pub claim_headers: Vec<(HeaderName, String)>,
    /// Weight of this server's replica on this node, 1 to 1000; the node's if absent.
    pub weight: Option<u16>,
    pub on_lost: OnLost,
    /// Which state comes along to a new instance.
    pub state: Option<StateSettings>,
    pub isolation: Isolation,
    pub era: ServerEra,
    /// Processes kept ready for new sessions.
    pub warm: u16,
    /// Time without use after which an instance is stopped; the affinity timeout if
    /// absent.
    pub idle_timeout: Option<Duration>,
    /// Processes that serve sessions; `limits.childrenPerServer` if absent.
    pub max_instances: Option<usize>,
    /// Age after which an instance is replaced, between two calls.
    pub max_lifetime: Option<Duration>,
    /// Bytes of memory after which an instance is replaced, between two calls; at
    /// twice as many, at once.
    pub max_memory: Option<u64>,
    /// Time from the start to the answer to `initialize`; the runner's default if
    /// absent.
    pub start_timeout: Option<Duration>,
}

/// What happens to a session when its server's state is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnLost {
    /// The session continues with a new instance, and the client is notified.
    Continue,
    /// The session ends: its requests get 404.
    Fail,
}

/// Which sessions share one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// The default. Today the same as `Session`.
    Auto,
    Session,
    Principal,
    Shared,
}

/// The revisions in which a server is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerEra {
    /// With sessions, if the server opens any; else without.
    Auto,
    /// With sessions.
    Legacy,
    /// Without.
    Modern,
    /// As each client is: it serves both.
    Both,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("name", &self.name)
            .field("enabled", &self.enabled)
            .field("shown", &self.shown)
            .field("misconfigured", &self.misconfigured)
            .finish_non_exhaustive()
    }
}

/// What becomes of an entry with a mistake.
const UNTIL: &str = "until then this server does not run";

pub(in crate::config) fn read(
    root: &Section<'_>,
    sources: &Sources<'_>,
    base: &Path,
) -> Vec<Server> {
    let mut servers: Vec<Server> = Vec::new();
    let mut places: HashMap<ServerName, usize> = HashMap::new();
    let lists = server_lists::read(root);
    let domains = allowed_domains::read(root);
    for (name, item) in entries(root) {
        if is_note(name) && item.value.as_object().is_none() {
            continue;
        }
        let problems = EntryProblems::new(&item.place, UNTIL);
        let item = Item { place: item.place.of_entry(&problems), ..item };
        let (is_allowed, written) = (lists.allow(name), name);
        let name = match ServerName::parse(name) {
            Ok(name) => name,
            Err(error) => {
                let advice = "choose a name that fits in URLs and tool names";
                item.refuse(format!("the server's name {error}"), advice);
                continue;
            }
        };
        refuse_duplicates(item.value, &item.place, item.notes);
        let first = places.get(&name).and_then(|place| servers.get_mut(*place));
        if let Some(first) = first {
            item.refuse("is given twice", "keep one of them");
            first.misconfigured = problems.reason();
            first.transport = None;
            continue;
        }
        places.insert(name.clone(), servers.len());
        let mut server = server((name, is_allowed), &item, &problems, sources, base);
        lists.hide(written, &mut server.tools);
        if server.enabled && !domains.allow(server.transport.as_ref()) {
            let advice = "add it to mcpSettings.allowedDomains, or remove the server";
            item.refuse("is on a host that mcpSettings.allowedDomains does not name", advice);
            server.misconfigured = problems.reason();
            server.transport = None;
        }
        servers.push(server);
    }
    servers
}

/// The entries of `mcpServers`. Anything but an object has none, and stops nothing.
pub(in crate::config) fn entries<'d>(root: &Section<'d>) -> Vec<(&'d str, Item<'d>)> {
    let Some(item) = root.get("mcpServers") else { return Vec::new() };
    if let Some(named) = named_in_list(&item) {
        return named;
    }
    if item.value.as_object().is_none() {
        let item = Item { place: item.place.lenient(), ..item };
        item.wrong_type::<()>("an object", "write { \"name\": { … } }; no server runs until then");
        return Vec::new();
    }
    item.entries()
}

/// The servers of a list, which say their names themselves, as Continue has them. `None` if it is no
/// list of such.
fn named_in_list<'d>(item: &Item<'d>) -> Option<Vec<(&'d str, Item<'d>)>> {
    let Value::Array(list) = item.value else { return None };
    let mut named = Vec::new();
    for (index, value) in list.elements.iter().enumerate() {
        let Some(Value::StringLit(name)) =
            value.as_object().and_then(|entry| entry.get("name")).map(|name| &name.value)
        else {
            let place = item.place.index(index, value.start()).lenient();
            let item = Item { place, value, ..item.clone() };
            item.refuse("has no name", "give it a \"name\", or write { \"name\": { … } }");
            continue;
        };
        let place = item.place.entry(&name.value, value.start());
        named.push((&*name.value, Item { notes: item.notes, place, value }));
    }
    (!named.is_empty()).then_some(named)
}

fn server(
    (name, is_allowed): (ServerName, bool),
    item: &Item<'_>,
    problems: &Rc<EntryProblems>,
    sources: &Sources<'_>,
    base: &Path,
) -> Server {
    let entry = item.section();
    let enabled = switched::on(&entry, switches::says) && is_allowed;
    let entry = entry.lenient_unless(enabled);
    let made = transport::read(&entry, sources, base);
    let is_sse = matches!(made.transport, Some(Transport::Sse(_)));
    let is_stdio = matches!(made.transport, Some(Transport::Stdio { .. }));
    warn_of_start_on_demand(&entry);
    let listed = entry.get("tools").filter(|item| item.value.as_array().is_some());
    let mut tools = match &listed {
        Some(_) => Selections::new(),
        None => selections(&entry, "tools", problems),
    };
    shown_tools::narrow(&entry, Listed::Tools, listed.as_ref(), &mut tools);
    let mut prompts = selections(&entry, "prompts", problems);
    shown_tools::narrow(&entry, Listed::Prompts, None, &mut prompts);
    shown_tools::refuse_tags(&entry, [&mut tools, &mut prompts]);
    let mut resources = selections(&entry, "resources", problems);
    shown_tools::narrow(&entry, Listed::Resources, None, &mut resources);
    let passthrough_headers =
        entry.get("passthroughHeaders").map(|item| headers::list(&item)).unwrap_or_default();
    let mut server = Server {
        name,
        enabled,
        transport: made.transport,
        shown: made.shown,
        misconfigured: None,
        tools,
        prompts,
        resources,
        options: timeouts::read(&entry),
        claim_headers: claim_headers::read(&entry, &passthrough_headers),
        passthrough_headers,
        weight: u16::try_from(entry.whole("weight", 0, 1..=MAX_WEIGHT))
            .ok()
            .filter(|weight| *weight > 0),
        on_lost: entry
            .choice("onLost", "reaction to a lost session", &ON_LOST)
            .unwrap_or(OnLost::Continue),
        state: made.state,
        isolation: isolation(&entry),
        era: era(&entry, is_stdio, is_sse),
        warm: u16::try_from(entry.whole("warm", 0, 0..=MAX_WARM)).unwrap_or(0),
        idle_timeout: entry.millis("idleTimeoutMs", 1..=MAX_TIMEOUT_MS),
        max_instances: usize::try_from(entry.whole("maxInstances", 0, 1..=MAX_INSTANCES))
            .ok()
            .filter(|instances| *instances > 0),
        max_lifetime: entry.millis("maxLifetimeMs", 1..=MAX_LIFETIME_MS),
        max_memory: Some(entry.whole("maxMemory", 0, MIN_MEMORY..=MAX_MEMORY))
            .filter(|memory| *memory > 0),
        start_timeout: entry.millis("startTimeoutMs", 1..=MAX_TIMEOUT_MS),
    };
    refuse_shared_state(&entry, server.isolation);
    // Every key has been read by now.
    server.misconfigured = problems.reason();
    if server.transport.is_none() && server.misconfigured.is_none() {
        // The server is off; the findings have the details.
        server.misconfigured = Some("the entry has mistakes".to_owned());
    }
    if server.misconfigured.is_some() {
        server.transport = None;
    }
    server
}

const ON_LOST: [(&str, OnLost); 2] = [("continue", OnLost::Continue), ("fail", OnLost::Fail)];

const ISOLATION: [(&str, Isolation); 4] = [
    ("auto", Isolation::Auto),
    ("session", Isolation::Session),
    ("principal", Isolation::Principal),
    ("shared", Isolation::Shared),
];

/// Reads `isolation`, or MCPHub's `perSessionClient`. There `false` shares one process
/// between all sessions; here sharing must be set explicitly, since it lets clients
/// see each other's state.
fn isolation(entry: &Section<'_>) -> Isolation {
    let own = entry.choice("isolation", "kind of isolation", &ISOLATION);
    let Some(item) = entry.get("perSessionClient") else { return own.unwrap_or(Isolation::Auto) };
    match (own, item.flag().unwrap_or(true)) {
        (None, true) => Isolation::Session,
        (None, false) => {
            item.warn(
                "does not share a process",
                "to use one process for all sessions, write \"isolation\": \"shared\"",
            );
            Isolation::Auto
        }
        (Some(own @ (Isolation::Shared | Isolation::Principal)), true)
        | (Some(own @ Isolation::Session), false) => {
            item.warn("contradicts \"isolation\", which takes precedence", "remove one of them");
            own
        }
        (Some(own), _) => own,
    }
}

const ERAS: [(&str, ServerEra); 4] = [
    ("auto", ServerEra::Auto),
    ("legacy", ServerEra::Legacy),
    ("modern", ServerEra::Modern),
    ("both", ServerEra::Both),
];

fn era(entry: &Section<'_>, is_stdio: bool, is_sse: bool) -> ServerEra {
    let era = entry.choice("era", "era", &ERAS).unwrap_or(ServerEra::Auto);
    let Some(item) = entry.get("era") else { return era };
    match era {
        ServerEra::Modern | ServerEra::Both if is_sse => item.refuse(
            "is not of sessions alone, and HTTP+SSE is a transport of sessions",
            "remove it, or set \"type\" to \"streamable-http\"",
        ),
        ServerEra::Both if is_stdio => item.refuse(
            "is both, and a server on stdio is used in one era",
            "set it to \"legacy\" or \"modern\", or remove it",
        ),
        ServerEra::Auto | ServerEra::Legacy | ServerEra::Modern | ServerEra::Both => {}
    }
    era
}

/// What one session repeats or restores in a process that it shares would change the others' state.
fn refuse_shared_state(entry: &Section<'_>, isolation: Isolation) {
    if let Some(item) = entry.get("state")
        && matches!(isolation, Isolation::Principal | Isolation::Shared)
    {
        let message = "is about the state of one session, and \"isolation\" shares a process";
        item.refuse(message, "remove one of them");
    }
}

/// Warns of `startOnDemand: false`: servers always start when they are needed.
fn warn_of_start_on_demand(entry: &Section<'_>) {
    if let Some(item) = entry.get("startOnDemand")
        && item.flag() == Some(false)
    {
        item.warn("is false, but servers always start when they are needed", "remove it");
    }
}

/// With a mistake in them everything is hidden: the server may run on other nodes, where what this
/// file hides is hidden too.
fn selections(entry: &Section<'_>, key: &str, problems: &EntryProblems) -> Selections {
    let (mut selections, before) = (Selections::new(), problems.count());
    for (name, item) in entry.entries(key) {
        let section = item.section();
        let selection = EntrySettings {
            enabled: switched::on(&section, switches::says_of_shown),
            description: section.get("description").and_then(|item| item.prose()),
        };
        selections.insert(name.to_owned(), selection);
    }
    if problems.count() > before {
        selections.values_mut().for_each(|selection| selection.enabled = false);
        let hidden = EntrySettings { enabled: false, description: None };
        selections.insert(ALL_OTHERS.to_owned(), hidden);
    }
    selections
}
