//! Warnings about a valid configuration: what is open, and what has no effect.

use crate::app::own_files;
use crate::config::{self, BearerKey, Config, Isolation, KeyReach, Lock, Server, Transport};
use crate::model::ServerName;

/// A bound of connections that the process has not enough descriptors for.
#[must_use]
pub fn few_descriptors(config: &Config, descriptors: u64) -> Option<String> {
    let most = config.limits.connections? as u64;
    (most >= descriptors).then(|| {
        format!(
            "systemConfig.limits.connections is {most}, but this process may open {descriptors} \
             files; lower it, or raise the limit (ulimit -n, LimitNOFILE=)"
        )
    })
}

/// Settings that are valid but have no effect, or open the gateway, one line each, for the log and
/// `mooring check`.
#[must_use]
pub fn of(config: &Config) -> Vec<String> {
    let mut notices = config::open_door_warnings(config, &config.listen.host);
    notices.extend(allow_open(config));
    notices.extend(config.access.lock.keys().iter().filter_map(|key| lost_key(config, key)));
    notices.extend(own_files::in_the_way(config));
    notices.extend(own_files::led_astray(config));
    for server in config.servers.iter().filter(|server| server.enabled) {
        if is_shared_from_afar(server) {
            notices.push(format!(
                "mcpServers.{}.isolation: has no effect on a remote server, which gets one session \
                 for each session here; remove it",
                server.name
            ));
        }
        let is_one = config.access.lock.keys().len() < 2 && config.access.issuers.is_empty();
        if is_one && is_shared_by_one_principal(server) {
            notices.push(format!(
                "mcpServers.{}.isolation: all clients are one principal here, with one key or none, so \
                 all sessions share the process as with \"shared\"; set isolation to session, or to \
                 shared to say so",
                server.name
            ));
        }
        let without_effect = without_effect(server);
        if !without_effect.is_empty() {
            notices.push(format!(
                "mcpServers.{}: without effect yet on a process that sessions share: {}; remove \
                 these keys, or set isolation to session",
                server.name,
                without_effect.join(", ")
            ));
        }
        let of_processes = of_processes(server);
        if !of_processes.is_empty() {
            notices.push(format!(
                "mcpServers.{}: without effect on a remote server, which has no process here: {}; \
                 remove these keys",
                server.name,
                of_processes.join(", ")
            ));
        }
    }
    notices
}

/// What `--allow-open` does here.
fn allow_open(config: &Config) -> Option<String> {
    let who = match config.access.lock {
        _ if config.is_closed() => "clients use the coordinator",
        Lock::Open if config.takes_certificates() => "clients still need a certificate",
        Lock::Open => "every program that reaches the port may use all servers",
        Lock::Keys(_) | Lock::Generated => "clients still need a key",
        Lock::Tokens => "clients still need a token",
    };
    let text = "--allow-open: access rules of the file that Mooring does not enforce are ignored";
    config.access.allow_open.then(|| format!("{text}; {who}"))
}

/// What a key names that this file does not have.
fn lost_key(config: &Config, key: &BearerKey) -> Option<String> {
    let KeyReach::Only { groups, servers } = &key.reach else { return None };
    let has_group = |name: &String| {
        config
            .groups
            .iter()
            .any(|group| group.name.as_str() == name || group.id.as_deref() == Some(name.as_str()))
    };
    let may_be_elsewhere = matches!(config.mode, config::Mode::Coordinator(_));
    let has_server = |name: &ServerName| {
        may_be_elsewhere || config.servers.iter().any(|server| server.name == *name)
    };
    let groups = groups.iter().filter(|name| !has_group(name)).map(|name| format!("group {name}"));
    let servers = servers.iter().filter(|name| !has_server(name));
    let lost: Vec<String> = groups.chain(servers.map(|name| format!("server {name}"))).collect();
    (!lost.is_empty()).then(|| {
        format!("the key {} is for {}, which this file does not have", key.name, lost.join(", "))
    })
}

/// Whether the entry asks for a process for each principal. Without several keys there is only one:
/// whoever has the key, or everybody.
fn is_shared_by_one_principal(server: &Server) -> bool {
    server.isolation == Isolation::Principal
        && matches!(server.transport, None | Some(Transport::Stdio { .. }))
}

/// Whether the entry asks to share a remote server. Sharing saves processes, and a
/// remote server has none here.
fn is_shared_from_afar(server: &Server) -> bool {
    let is_shared = matches!(server.isolation, Isolation::Principal | Isolation::Shared);
    is_shared && !matches!(server.transport, None | Some(Transport::Stdio { .. }))
}

/// Keys of a shared server that have no effect yet.
fn without_effect(server: &Server) -> Vec<&'static str> {
    let is_shared = matches!(server.isolation, Isolation::Principal | Isolation::Shared);
    let asked = [
        // A shared process has no pause between two calls in which it could be replaced,
        // and is started by its first session.
        ("warm", is_shared && server.warm > 0),
        ("maxLifetimeMs", is_shared && server.max_lifetime.is_some()),
        ("maxMemory", is_shared && server.max_memory.is_some()),
    ];
    asked.into_iter().filter_map(|(key, asked)| asked.then_some(key)).collect()
}

/// Keys of a remote server that have an effect on child processes only.
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
