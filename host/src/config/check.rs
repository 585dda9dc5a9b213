//! The page that `mooring check` prints: what a configuration would do. It shows no
//! secret, and no value of an environment variable or header.

use std::fmt::{self, Display, Write};
use std::time::Duration;

use crate::model::visible::visible;

use super::Config;
use super::sections::bearer_keys::{BearerKey, KeyReach};
use super::sections::cluster::{Coordinator, Mode, NodeMode};
use super::sections::cluster_tls::ClusterTlsFiles;
use super::sections::eras::ConversationBy;
use super::sections::groups::{GroupEntries, GroupServer, GroupSettings};
use super::sections::listen::Listen;
use super::sections::lock::Lock;
use super::sections::names::Prefix;
use super::sections::policy::PolicyRule;
use super::sections::rates::{RatePer, RateSettings};
use super::sections::servers::transport::Transport;
use super::sections::servers::{Isolation, Server};
use super::sections::sticky::Sticky;
use super::sections::store::Store;
use super::sections::token_issuers::TokenIssuer;

/// Bytes shown of one value, or of one row of a table.
const MAX_VALUE: usize = 4096;

/// The whole page; every line ends in `\n`.
pub fn describe(config: &Config) -> String {
    let mut page = CheckPage::default();
    overview(&mut page, config);
    match &config.mode {
        Mode::Standalone => {}
        Mode::Coordinator(coordinator) => cluster_of(&mut page, coordinator, &config.store),
        Mode::Node(node) => membership(&mut page, node, config),
    }
    servers(&mut page, config);
    keys(&mut page, config.access.lock.keys());
    issuers(&mut page, &config.access.issuers);
    policy(&mut page, config.access.policy.as_deref());
    rates(&mut page, &config.access.rates);
    groups(&mut page, &config.groups);
    page.0
}

fn overview(page: &mut CheckPage, config: &Config) {
    let mode = match config.mode {
        Mode::Standalone => "standalone",
        Mode::Coordinator(_) => "coordinator",
        Mode::Node(_) => "node",
    };
    page.row("mode", mode);
    page.row("listening", listening(&config.listen));
    page.optional("base path", &config.listen.base_path);
    page.row("data folder", config.data_dir.display());
    page.row("strategy", strategy(&config.sticky));
    page.row("access", access(config));
    page.row("tool names", tool_names(config));
    if config.eras.modern {
        page.row("eras", eras(config));
    }
    if config.mode != Mode::Standalone {
        page.row("cluster token", set_or_not(config.token.is_some()));
        if let Some(tls) = &config.cluster_tls {
            page.row("cluster TLS", cluster_tls(tls));
        }
    }
    let secret = match config.secret {
        Some(_) => "set",
        None => "generated in the data folder",
    };
    page.row("session secret", secret);
    if let Some(bytes) = config.min_free_memory {
        page.row("free memory", format!("below {bytes} bytes, new sessions go to other nodes"));
    }
}

fn listening(listen: &Listen) -> String {
    if let Some(file) = &listen.file {
        return format!("unix:{} (mode {:04o})", file.path.display(), file.mode);
    }
    let address = address(&listen.host, listen.port);
    let Some(tls) = &listen.tls else { return address };
    let version = if tls.only_1_3 { "1.3" } else { "1.2 or 1.3" };
    let count = match tls.certificates.len() {
        1 => "1 certificate".to_owned(),
        many => format!("{many} certificates"),
    };
    let plain = match tls.plain_from.as_slice() {
        [] => "of this machine".to_owned(),
        networks => {
            let networks: Vec<String> = networks.iter().map(ToString::to_string).collect();
            format!("of this machine and {}", networks.join(" "))
        }
    };
    format!("{address} with TLS {version}, {count}; plain HTTP {plain}")
}

fn cluster_tls(tls: &ClusterTlsFiles) -> String {
    let (cert, ca) = (tls.cert.display(), tls.ca.display());
    let revoked = match &tls.revoked {
        Some(file) => format!(", revoked ones in {}", file.display()),
        None => String::new(),
    };
    let also = if tls.optional { "; others do without" } else { "" };
    format!("certificate {cert}, authorities {ca}{revoked}{also}")
}

fn address(host: &str, port: u16) -> String {
    let port = match port {
        0 => "any free port".to_owned(),
        port => port.to_string(),
    };
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

/// The names of the strategies that are within the program.
const BUILT_IN: [&str; 3] = ["consistent-hash", "cookie", "header"];

fn strategy(sticky: &Sticky) -> String {
    let affinity = Millis(sticky.affinity_timeout);
    if !sticky.enabled {
        return "none: the least loaded replica".to_owned();
    }
    let signed = if sticky.signed { ", signed" } else { "" };
    let carrier = match sticky.strategy.as_str() {
        "cookie" => format!(" {}", sticky.cookie_name),
        "header" => format!(" {}", sticky.header_name),
        _ => String::new(),
    };
    format!("{}{carrier}, affinity ends after {affinity} without use{signed}", sticky.strategy)
}

fn access(config: &Config) -> String {
    let access = &config.access;
    let mut parts = vec![match &access.lock {
        _ if config.is_closed() => "no clients of its own".to_owned(),
        Lock::Keys(keys) if keys.len() == 1 => "bearer key".to_owned(),
        Lock::Keys(keys) => format!("{} bearer keys", keys.len()),
        Lock::Tokens => "tokens only".to_owned(),
        Lock::Generated => "a generated key, in generated-key of the data folder".to_owned(),
        Lock::Open => "open to every client that reaches the port".to_owned(),
    }];
    if config.takes_certificates() && !config.is_closed() {
        match &access.lock {
            Lock::Open => parts = vec!["client certificates".to_owned()],
            _ => parts.push("or client certificates".to_owned()),
        }
    }
    if !access.issuers.is_empty() && access.lock != Lock::Tokens {
        parts.push(format!("tokens of {} issuers", access.issuers.len()));
    }
    if access.key_header != http::header::AUTHORIZATION {
        parts.push(format!("sent as {}", access.key_header));
    }
    for (what, list) in [("hosts", &access.allowed_hosts), ("origins", &access.allowed_origins)] {
        if !list.is_empty() {
            parts.push(format!("{what} {}", list.join(" ")));
        }
    }
    if !access.enable_global_route {
        parts.push("no global route".to_owned());
    }
    if !access.enable_group_name_route {
        parts.push("groups by id only".to_owned());
    }
    parts.join(", ")
}

/// The eras, and what names a conversation of clients without a session.
fn eras(config: &Config) -> String {
    // Those that are built in tell none apart.
    let has_plugin = !BUILT_IN.contains(&config.sticky.strategy.as_str()) && config.sticky.enabled;
    let asked = config.eras.conversations.iter();
    let asked = asked.filter(|by| has_plugin || **by != ConversationBy::Plugin);
    let named = asked.map(ConversationBy::to_string);
    let named = named.collect::<Vec<_>>().join(", ");
    let named = if named.is_empty() { "nothing".to_owned() } else { named };
    format!("legacy and modern, conversations by {named}")
}

fn tool_names(config: &Config) -> String {
    let separator = &config.names.separator;
    match config.names.prefix {
        Prefix::Always => format!("server{separator}tool"),
        Prefix::OnCollision => format!("tool, or server{separator}tool if two are equal"),
        Prefix::Never => "tool".to_owned(),
    }
}

fn cluster_of(page: &mut CheckPage, coordinator: &Coordinator, store: &Store) {
    page.row("store", store);
    page.row("node timeout", Millis(coordinator.node_timeout));
    page.row("cleanup every", Millis(coordinator.cleanup_interval));
    page.optional("zone", &coordinator.zone);
    for (server, headers) in &coordinator.passthrough_headers {
        let headers: Vec<_> = headers.iter().map(http::HeaderName::as_str).collect();
        page.row("passes on", format!("{} to {server}", headers.join(", ")));
    }
}

fn membership(page: &mut CheckPage, node: &NodeMode, config: &Config) {
    page.row("coordinator", node.coordinators());
    page.row("node id", node.id.as_ref().map_or("generated", |id| id.as_str()));
    page.row("node name", node.name.as_deref().unwrap_or("the hostname"));
    page.row("heartbeat every", Millis(node.heartbeat_interval));
    let registers = match node.register_on_startup {
        true => "on startup",
        false => "only after mooring join",
    };
    page.row("registers", registers);
    if let Some(url) = &node.advertise_url {
        page.row("reached at", url);
    }
    page.row("weight", node.weight);
    page.optional("zone", &node.zone);
    let labels: Vec<_> = node.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    page.optional("labels", &labels.join(" "));
    let own = match &config.access.lock {
        _ if config.is_closed() => "closed: clients use the coordinator (node.public opens them)",
        Lock::Keys(_) => "for clients with the bearer key",
        Lock::Tokens => "for clients with a token",
        Lock::Generated => "for clients with the generated key",
        Lock::Open => "open to every client that reaches the port (node.public)",
    };
    page.row("own /mcp, /api", own);
}

fn servers(page: &mut CheckPage, config: &Config) {
    let is_one = config.access.lock.keys().len() < 2 && config.access.issuers.is_empty();
    let rows: Vec<_> = config.servers.iter().map(|entry| server(entry, is_one)).collect();
    page.table("SERVERS", &rows);
}

/// The keys of a file that names several, or one that does not open everything.
fn keys(page: &mut CheckPage, keys: &[BearerKey]) {
    if matches!(keys, [] | [BearerKey { reach: KeyReach::All, .. }]) {
        return;
    }
    let row = |key: &BearerKey| match &key.reach {
        KeyReach::All => [key.name.clone(), "all".to_owned(), "the management API too".to_owned()],
        KeyReach::Only { groups, servers } => {
            let groups = groups.iter().map(|group| format!("group {group}"));
            let servers = servers.iter().map(|server| format!("server {server}"));
            let what: Vec<String> = groups.chain(servers).collect();
            let what = if what.is_empty() { "nothing".to_owned() } else { what.join(", ") };
            [key.name.clone(), "only".to_owned(), what]
        }
    };
    page.table("KEYS", &keys.iter().map(row).collect::<Vec<_>>());
}

/// The issuers whose tokens let clients in.
fn issuers(page: &mut CheckPage, issuers: &[TokenIssuer]) {
    if issuers.is_empty() {
        return;
    }
    let row = |of: &TokenIssuer| {
        let scopes = match of.required_scopes.as_slice() {
            [] => String::new(),
            scopes => format!(", with the scopes {}", scopes.join(" ")),
        };
        let what = format!(
            "for {}{scopes}; principal {}:{{{}}}, groups by {}",
            of.audience.join(", "),
            of.name,
            of.principal_claim,
            of.groups_claim
        );
        [of.name.clone(), of.issuer.clone(), what]
    };
    page.table("TOKENS", &issuers.iter().map(row).collect::<Vec<_>>());
}

/// The table of who may use what.
fn policy(page: &mut CheckPage, rules: Option<&[PolicyRule]>) {
    let Some(rules) = rules else { return };
    let row = |rule: &PolicyRule| {
        let effect = if rule.allows { "allows" } else { "denies" };
        let list = |what: &str, names: &[String]| match names {
            [] => None,
            names => Some(format!("{what} {}", names.join(" "))),
        };
        let given = |what: &str, names: &Option<Vec<String>>| {
            names.as_ref().map(|names| format!("{what} {}", names.join(" ")))
        };
        let (entries, who) = (&rule.entries, &rule.who);
        let what = [
            list("servers", &rule.servers),
            list("groups", &rule.groups),
            given("tools", &entries.tools),
            given("prompts", &entries.prompts),
            given("resources", &entries.resources),
            rule.manages.then(|| "the management API".to_owned()),
            given("for principals", &who.principals),
            given("for keys", &who.keys),
            given("for members of", &who.groups),
        ];
        let what: Vec<String> = what.into_iter().flatten().collect();
        [rule.name.clone(), effect.to_owned(), what.join("; ")]
    };
    page.table("POLICY", &rules.iter().map(row).collect::<Vec<_>>());
}

/// How often clients may ask.
fn rates(page: &mut CheckPage, limits: &[RateSettings]) {
    if limits.is_empty() {
        return;
    }
    let row = |limit: &RateSettings| {
        let per = limit.per.iter().map(|by| match by {
            RatePer::Principal => "principal",
            RatePer::Key => "key",
            RatePer::Server => "server",
            RatePer::Tool => "tool",
        });
        let per: Vec<&str> = per.collect();
        let per = match per.as_slice() {
            [] => "for all together".to_owned(),
            per => format!("for each {}", per.join(" and ")),
        };
        let requests = limit.requests.map(|(requests, within, burst)| {
            format!("{requests} requests in {}, {burst} at once", Millis(within))
        });
        let concurrent = limit.concurrent.map(|most| format!("{most} at the same time"));
        let given = |what: &str, names: &Option<Vec<String>>| {
            names.as_ref().map(|names| format!("{what} {}", names.join(" ")))
        };
        let parts = [
            requests,
            concurrent,
            given("servers", &limit.servers),
            given("tools", &limit.tools),
            given("for principals", &limit.who.principals),
            given("for keys", &limit.who.keys),
            given("for members of", &limit.who.groups),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        [limit.name.clone(), per, parts.join("; ")]
    };
    page.table("LIMITS", &limits.iter().map(row).collect::<Vec<_>>());
}

/// A row; `is_one_principal` says whether all clients are one.
fn server(server: &Server, is_one_principal: bool) -> [String; 3] {
    let kind = match &server.transport {
        _ if !server.enabled => "off",
        None => "broken",
        Some(Transport::Stdio { .. }) => "stdio",
        Some(Transport::Http(_)) => "http",
        Some(Transport::Sse(_)) => "sse",
        Some(Transport::HttpOrSse(_)) => "http or sse",
    };
    let mut what = server.shown.clone();
    if let Some(reason) = server.misconfigured.as_ref().filter(|_| server.enabled) {
        what = match what.is_empty() {
            true => format!("MISCONFIGURED: {reason}"),
            false => format!("{what}  MISCONFIGURED: {reason}"),
        };
    }
    what.push_str(isolation(server, is_one_principal));
    if let Some(Transport::Http(remote) | Transport::Sse(remote) | Transport::HttpOrSse(remote)) =
        &server.transport
        && let Some(proxy) = &remote.proxy
    {
        let place = address(&proxy.host, proxy.port);
        // Writing to a string cannot fail.
        let _ = write!(what, "  (through {place}: {})", proxy.named_by);
    }
    let masked: Vec<String> = match &server.transport {
        Some(Transport::Stdio { env, .. }) => {
            env.iter().map(|(name, _)| format!("{name}=…")).collect()
        }
        Some(Transport::Http(remote) | Transport::Sse(remote) | Transport::HttpOrSse(remote)) => {
            let headers = remote.headers.iter();
            headers.map(|(name, _)| format!("{name}: …")).collect()
        }
        None => Vec::new(),
    };
    if !masked.is_empty() {
        // Writing to a string cannot fail.
        let _ = write!(what, "  [{}]", masked.join(", "));
    }
    [server.name.to_string(), kind.to_owned(), what]
}

/// How the sessions of a server that runs are kept apart.
fn isolation(server: &Server, is_one_principal: bool) -> &'static str {
    let Some(transport) = &server.transport else { return "" };
    if !server.enabled || server.misconfigured.is_some() {
        return "";
    }
    match (transport, server.isolation) {
        (Transport::Stdio { .. }, Isolation::Auto | Isolation::Session) => {
            "  (a process for each session)"
        }
        (Transport::Stdio { .. }, Isolation::Shared) => "  (one process for all sessions)",
        (Transport::Stdio { .. }, Isolation::Principal) if is_one_principal => {
            "  (one process for each principal, and all clients are one)"
        }
        (Transport::Stdio { .. }, Isolation::Principal) => "  (one process for each key)",
        (Transport::Http(_) | Transport::Sse(_) | Transport::HttpOrSse(_), _) => {
            "  (a session there for each session)"
        }
    }
}

fn groups(page: &mut CheckPage, groups: &[GroupSettings]) {
    let rows: Vec<_> = groups.iter().map(group).collect();
    page.table("GROUPS", &rows);
}

fn group(group: &GroupSettings) -> [String; 3] {
    let servers: Vec<_> = group.servers.iter().map(group_server).collect();
    let id = group.id.clone().unwrap_or_default();
    [group.name.to_string(), id, servers.join(", ")]
}

fn group_server(server: &GroupServer) -> String {
    let name = match &server.alias {
        Some(alias) => format!("{} as {alias}", server.name),
        None => server.name.to_string(),
    };
    match &server.tools {
        GroupEntries::All => name,
        GroupEntries::Only(tools) if tools.len() == 1 => format!("{name} (1 tool)"),
        GroupEntries::Only(tools) => format!("{name} ({} tools)", tools.len()),
    }
}

fn set_or_not(is_set: bool) -> &'static str {
    if is_set { "set" } else { "not set" }
}

#[derive(Default)]
struct CheckPage(String);

impl CheckPage {
    fn row(&mut self, name: &str, value: impl Display) {
        let value = value.to_string();
        self.line(format_args!("{name:<16}{}", visible(&value, MAX_VALUE)));
    }

    fn optional(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.row(name, value);
        }
    }

    /// Three columns, the first two as wide as their widest cell.
    fn table(&mut self, title: &str, rows: &[[String; 3]]) {
        let width = |column: usize| {
            let widths = rows.iter().map(|row| row[column].chars().count());
            widths.max().unwrap_or(0)
        };
        let (first, second) = (width(0), width(1));
        self.line(format_args!("\n{title} ({})", rows.len()));
        for [a, b, c] in rows {
            let line = format!("  {a:<first$}  {b:<second$}  {c}");
            self.line(format_args!("{}", visible(line.trim_end(), MAX_VALUE)));
        }
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{line}");
    }
}

/// A duration, shown as a whole number of the largest possible unit.
struct Millis(Duration);

impl Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        for (unit, size) in [("h", 3_600_000), ("min", 60_000), ("s", 1000)] {
            if millis >= size && millis.is_multiple_of(size) {
                return write!(f, "{} {unit}", millis / size);
            }
        }
        write!(f, "{millis} ms")
    }
}
