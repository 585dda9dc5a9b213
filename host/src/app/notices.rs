//! What the operator should know about a valid configuration before it runs.

use crate::config::{Config, Isolation, Mode, Server, Transport};

/// Who is trusted in a cluster without a token: for the log of a running process.
#[must_use]
pub fn open_cluster(config: &Config) -> Option<String> {
    let who = match config.mode {
        Mode::Coordinator(_) => "nodes register from loopback and private addresses",
        Mode::Node(_) => "only the coordinator's address is served below /cluster/",
        Mode::Standalone => return None,
    };
    config.token.is_none().then(|| {
        format!("no cluster token: {who}; set MOORING_CLUSTER_TOKEN on coordinator and nodes")
    })
}

/// What is read and does nothing (yet), one line each, for log and `mooring check`.
#[must_use]
pub fn of(config: &Config) -> Vec<String> {
    let mut notices = Vec::new();
    for server in config.servers.iter().filter(|server| server.enabled) {
        if is_shared_from_afar(server) {
            notices.push(format!(
                "mcpServers.{}.isolation: a remote server keeps a session for each of its clients \
                 anyway; each session here has one there",
                server.name
            ));
        }
        let without_effect = without_effect(server);
        if !without_effect.is_empty() {
            notices.push(format!(
                "mcpServers.{}: {} accepted, but without effect yet",
                server.name,
                without_effect.join(", ")
            ));
        }
        let of_processes = of_processes(server);
        if !of_processes.is_empty() {
            notices.push(format!(
                "mcpServers.{}: {} without effect, since the server is no process of this gateway",
                server.name,
                of_processes.join(", ")
            ));
        }
    }
    notices
}

/// Sharing saves processes; a remote server has none here.
fn is_shared_from_afar(server: &Server) -> bool {
    let is_shared = matches!(server.isolation, Isolation::Principal | Isolation::Shared);
    is_shared && !matches!(server.transport, None | Some(Transport::Stdio { .. }))
}

/// Keys of a server that are read and do nothing yet.
fn without_effect(server: &Server) -> Vec<&'static str> {
    let is_shared = matches!(server.isolation, Isolation::Principal | Isolation::Shared);
    let asked = [
        // A shared process has no quiet point of one session, and starts with the first.
        ("warm", is_shared && server.warm > 0),
        ("maxLifetimeMs", is_shared && server.max_lifetime.is_some()),
        ("maxMemory", is_shared && server.max_memory.is_some()),
    ];
    asked.into_iter().filter_map(|(key, asked)| asked.then_some(key)).collect()
}

/// Keys of a remote server that mean something for child processes only.
fn of_processes(server: &Server) -> Vec<&'static str> {
    if matches!(server.transport, Some(Transport::Stdio { .. }) | None) {
        return Vec::new();
    }
    let asked = [
        ("warm", server.warm > 0),
        ("maxInstances", server.max_instances.is_some()),
        ("maxLifetimeMs", server.max_lifetime.is_some()),
        ("maxMemory", server.max_memory.is_some()),
    ];
    asked.into_iter().filter_map(|(key, asked)| asked.then_some(key)).collect()
}
