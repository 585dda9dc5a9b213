//! The summary that the gateway prints when it has started.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use crate::config::{Config, Mode};

use super::parts::Parts;

/// What stands in place of the endpoint of a node that serves no client.
const CLOSED: &str = "none: clients connect to the coordinator (node.public, or a key of this \
                      node's own, opens its /mcp and /api)";

/// What the start says, fact by fact. A fact without a name goes on with the one before.
pub struct Summary(Vec<(&'static str, String)>);

impl Summary {
    /// One line per fact, for the terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("mooring {}\n", env!("CARGO_PKG_VERSION"));
        for (name, value) in &self.0 {
            // Writing to a string does not fail.
            let _ = writeln!(text, "  {name:<10} {value}");
        }
        text
    }

    /// The same as one event of the log, for programs.
    pub fn log(&self) {
        let fact = |name: &str| {
            let found = self.0.iter().find(|(of, _)| *of == name);
            found.map_or("", |(_, value)| value.as_str())
        };
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            mode = fact("mode"),
            listening = fact("listening"),
            endpoint = fact("endpoint"),
            servers = fact("servers"),
            groups = fact("groups"),
            strategy = fact("strategy"),
            store = fact("store"),
            "mooring serves"
        );
    }
}

#[must_use]
pub fn of(
    config: &Config,
    parts: &Parts,
    (address, file): (SocketAddr, Option<&Path>),
    workers: usize,
) -> Summary {
    let mut facts = Vec::new();
    let mut line = |name: &'static str, value: &str| facts.push((name, value.to_owned()));
    let mode = match &config.mode {
        Mode::Standalone => "standalone".to_owned(),
        Mode::Coordinator(_) => "coordinator".to_owned(),
        Mode::Node(node) => {
            format!("node {} of {}", parts.node_id, node.coordinators())
        }
    };
    line("mode", &mode);
    let scheme = if config.listen.tls.is_some() { "https" } else { "http" };
    let place = file.map_or_else(|| address.to_string(), |file| format!("unix:{}", file.display()));
    let tls = if config.listen.tls.is_some() { " with TLS" } else { "" };
    line("listening", &format!("{place}{tls} ({workers} workers)"));
    if config.mode == Mode::Standalone && !config.listen.is_chosen() && address.ip().is_loopback() {
        line("", "only this machine, since no key is set; MOORING_HOST=0.0.0.0 opens it");
    }
    let base = &config.listen.base_path;
    let shown = if file.is_some() {
        format!("{base}/mcp on that socket")
    } else if address.ip().is_unspecified() {
        format!("{scheme}://localhost:{}{base}/mcp", address.port())
    } else {
        format!("{scheme}://{address}{base}/mcp")
    };
    line("endpoint", if config.is_closed() { CLOSED } else { &shown });
    let running = config.servers.iter().filter(|server| server.enabled);
    let names: Vec<String> = running
        .map(|server| match &server.misconfigured {
            Some(reason) => format!("{} (misconfigured: {reason})", server.name),
            None => server.name.to_string(),
        })
        .collect();
    line("servers", &if names.is_empty() { "none".to_owned() } else { names.join(", ") });
    let groups: Vec<String> = config.groups.iter().map(|group| group.name.to_string()).collect();
    if !groups.is_empty() {
        line("groups", &groups.join(", "));
    }
    let strategy = &parts.edge.strategy;
    let sticky = if config.sticky.enabled {
        format!("{} {}", strategy.name(), strategy.version())
    } else {
        "none: least loaded (stickySession.enabled is false)".to_owned()
    };
    line("strategy", &sticky);
    line("store", &format!("{}, data in {}", config.store, config.data_dir.display()));
    Summary(facts)
}
