//! The health checks `/health`, `/livez` and `/readyz`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Value, json};

use crate::cluster::{
    Condition, Joined, LeaseStatus, MAX_FLAWS, NodeEntry, ReplicaCondition, ServerCondition,
    ServerHealth, conditions,
};
use crate::model::visible::visible;
use crate::model::{Reach, ServerName, UnixMillis};
use crate::runner::ServerState;
use crate::store::FolderState;

use super::answer::ApiAnswer;
use super::extract::AdmittedCaller;
use super::{Admin, ProcessRole, local};

/// Replaces the reason of a failure for callers that may not use `/api`: the reason
/// may quote a server's stderr.
const FAILED: &str = "it failed; callers that may use /api see the reason";
/// Replicas that are listed of one server; all are counted.
const MOST_REPLICAS: usize = 100;
/// Lines about servers in one answer to a probe.
const MOST_LINES: usize = 100;
/// Bytes of a line.
const MAX_LINE: usize = 4096;

/// Answers 200 to every caller while the process serves; the detail is in the body.
pub async fn health(
    admitted: Result<AdmittedCaller, ApiAnswer>,
    State(admin): State<Arc<Admin>>,
) -> Response {
    // Who may see some servers only learns of all no more than everybody.
    let with_reasons = admitted.is_ok_and(|AdmittedCaller(caller)| caller.rights().is_none());
    let shown = Shown { admin: &admin, with_reasons };
    let entries = admin.registry.entries();
    let servers = conditions(&entries);
    let reasons = reasons(&admin, &servers, shown.with_reasons);
    let (folder, why) = admin.records.folder();
    // The reason is the system's. It names no path.
    let folder_why = (folder != FolderState::Fine).then_some(why);
    let (mode, joined) = match &admin.role {
        ProcessRole::Standalone => ("standalone", None),
        ProcessRole::Coordinator { .. } => ("coordinator", None),
        ProcessRole::Node { joined, .. } => ("node", Some(*joined.borrow())),
    };
    let active = entries.iter().filter(|entry| entry.status == LeaseStatus::Active).count();
    let shortages = admin.pressure.shortages();
    let shortages: Vec<&str> = shortages.iter().map(|(_, line)| line.as_str()).collect();
    Json(json!({
        "status": if reasons.is_empty() { "ok" } else { "degraded" },
        "reasons": reasons,
        "mode": mode,
        "nodeId": admin.node_id.as_str(),
        "version": env!("CARGO_PKG_VERSION"),
        "uptimeMs": u64::try_from(UnixMillis::now().since(admin.started_at).as_millis()).unwrap_or(u64::MAX),
        "registered": joined.map(|joined| joined == Joined::Registered),
        "cluster": {"nodes": entries.len(), "activeNodes": active},
        "store": admin.sharing.as_ref().map(|_| {
            stale(&admin).unwrap_or_else(|| "fresh".to_owned())
        }),
        "shortages": shortages,
        "dataFolder": {"state": folder.as_str(), "why": folder_why},
        "servers": shown.servers(&entries, &servers),
    }))
    .into_response()
}

/// Since when the store that coordinators share has not answered, and why. The reason is the
/// system's or the server's; it holds no password.
fn stale(admin: &Admin) -> Option<String> {
    let sharing = admin.sharing.as_ref()?;
    if sharing.standing().is_fresh() {
        return None;
    }
    Some(match sharing.standing().stale() {
        Some((since, why)) => format!("stale since {}: {}", since.iso8601(), visible(&why, 200)),
        None => "not connected yet".to_owned(),
    })
}

/// What is wrong, a line each: with servers, with the node's place in its cluster, and with the store of the
/// coordinators.
fn reasons(admin: &Admin, servers: &[ServerCondition], with_reasons: bool) -> Vec<String> {
    let is_apart = match &admin.role {
        ProcessRole::Node { joined, .. } => *joined.borrow() == Joined::Registering,
        ProcessRole::Standalone | ProcessRole::Coordinator { .. } => false,
    };
    let apart = is_apart.then(|| "this node is not registered with its coordinator".to_owned());
    // Before it has answered once, the start is not over.
    let stale = admin.sharing.as_ref().is_some_and(|sharing| sharing.standing().stale().is_some());
    let store = stale.then(|| self::stale(admin)).flatten();
    let store = store.map(|stale| format!("the store of the coordinators is {stale}"));
    let lines = servers.iter().filter_map(|server| server.line(with_reasons));
    apart.into_iter().chain(store).chain(lines).take(MOST_LINES).collect()
}

/// The servers, as far as the caller may know them.
struct Shown<'a> {
    admin: &'a Admin,
    with_reasons: bool,
}

impl Shown<'_> {
    /// Every server of the cluster that this process knows.
    fn servers(&self, entries: &[NodeEntry], servers: &[ServerCondition]) -> Vec<Value> {
        let own = self.admin.runner.states();
        let known: BTreeMap<&ServerName, &ServerCondition> =
            servers.iter().map(|server| (&server.name, server)).collect();
        let of_cluster = servers.iter().map(|server| {
            let state = own.get(&server.name);
            self.server(&server.name, state, Some(server), entries)
        });
        // In the cluster's list once this process's own entry is.
        let others = own.iter().filter(|(name, _)| !known.contains_key(name));
        let others = others.map(|(name, state)| self.server(name, Some(state), None, entries));
        of_cluster.chain(others).collect()
    }

    fn server(
        &self,
        name: &ServerName,
        own: Option<&ServerState>,
        condition: Option<&ServerCondition>,
        entries: &[NodeEntry],
    ) -> Value {
        let discovery = &self.admin.runner.discovery;
        let (discovered, health) = match own {
            Some(state) => (discovery.digest(name).is_some(), local::health(state)),
            None => elsewhere(name, condition, entries),
        };
        let state = condition.map_or(Condition::Ok, ServerCondition::state);
        json!({
            "name": name.as_str(),
            "state": state.as_str(),
            "why": condition.and_then(|server| server.line(self.with_reasons)),
            "replicas": condition.map(|server| self.replicas(server)),
            "discovered": discovered,
            "error": self.reason(discovery.failure(name).as_deref()),
            "status": health.status,
            "failures": health.failures,
            "nextAttemptMs": health.next_attempt_ms,
            "lastError": self.reason(health.last_error.as_deref()),
            "flaws": if self.with_reasons { flaws(name, health.flaws, entries) } else { Vec::new() },
        })
    }

    fn replicas(&self, server: &ServerCondition) -> Value {
        let is_there = |condition: &ReplicaCondition| *condition == ReplicaCondition::Ok;
        let there = server.replicas.iter().filter(|replica| is_there(&replica.condition)).count();
        // Those that are missing come first: they are what is looked for.
        let mut listed: Vec<_> = server.replicas.iter().collect();
        listed.sort_by_key(|replica| is_there(&replica.condition));
        let nodes = listed.into_iter().take(MOST_REPLICAS).map(|replica| {
            json!({
                "node": replica.node.as_str(),
                "state": replica.condition.as_str(),
                "since": replica.condition.since().map(|since| since.0),
                "why": replica.why(self.with_reasons),
            })
        });
        json!({
            "known": server.replicas.len(),
            "available": there,
            "nodes": nodes.collect::<Vec<_>>(),
        })
    }

    fn reason(&self, text: Option<&str>) -> Option<String> {
        text.map(|text| if self.with_reasons { text.to_owned() } else { FAILED.to_owned() })
    }
}

/// What is wrong with a server that runs: here, and on nodes that are there. Each flaw once.
fn flaws(name: &ServerName, here: Vec<String>, entries: &[NodeEntry]) -> Vec<String> {
    let is_there = |entry: &&NodeEntry| {
        entry.status == LeaseStatus::Active && entry.servers.contains_key(name)
    };
    let reports = entries.iter().filter(is_there).flat_map(|entry| &entry.notes.flaws);
    let of_nodes = reports.filter(|report| report.server == name.as_str());
    let of_nodes = of_nodes.flat_map(|report| report.flaws.iter().cloned());
    let all: BTreeSet<String> = here.into_iter().chain(of_nodes).collect();
    all.into_iter().take(MAX_FLAWS).collect()
}

/// What is known of a server that runs on other nodes alone, in the words for one of this process.
fn elsewhere(
    name: &ServerName,
    condition: Option<&ServerCondition>,
    entries: &[NodeEntry],
) -> (bool, ServerHealth) {
    let has_lists =
        |entry: &NodeEntry| entry.servers.get(name).is_some_and(|replica| replica.digest.is_some());
    let mut replicas = condition.into_iter().flat_map(|server| &server.replicas);
    let is_there = condition.is_some_and(|server| server.state() != Condition::Down);
    let trouble = replicas.find_map(|replica| match &replica.condition {
        ReplicaCondition::Failing(trouble) if !is_there => Some(trouble.clone()),
        _ => None,
    });
    let status = match (&trouble, is_there) {
        (_, true) => "running".to_owned(),
        (Some(trouble), false) => trouble.status.clone(),
        (None, false) => "away".to_owned(),
    };
    let trouble = trouble.unwrap_or_default();
    let (failures, last_error) = (trouble.failures, trouble.reason);
    let remote = entries.iter().filter(|entry| entry.reach != Reach::Local);
    let health = ServerHealth { status, failures, last_error, ..ServerHealth::default() };
    (remote.into_iter().any(has_lists), health)
}

pub async fn livez() -> &'static str {
    "ok\n"
}

/// Answers 200 if the process can take clients, or registrations of nodes: a node once it is
/// registered (or waits for `join`), every other process at once. A process that ends answers 503
/// and serves what it has. Further lines name what neither key nor token closes, a settings file
/// without servers, a data folder that cannot be used, and what the machine is short of: sessions go
/// on and others begin, so that is no reason to send nobody here. With `?servers` in the query, a
/// server that cannot be used is one.
pub async fn readyz(State(admin): State<Arc<Admin>>, RawQuery(query): RawQuery) -> Response {
    if admin.leaving.is_ending() {
        return (StatusCode::SERVICE_UNAVAILABLE, "ending: takes no new sessions\n")
            .into_response();
    }
    if let ProcessRole::Node { joined, .. } = &admin.role
        && *joined.borrow() == Joined::Registering
    {
        let text = "not registered with the coordinator yet\n";
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    }
    let down = match asks_for_servers(query.as_deref().unwrap_or("")) {
        Ok(true) => down(&admin),
        Ok(false) => Vec::new(),
        Err(text) => return (StatusCode::BAD_REQUEST, text).into_response(),
    };
    let (status, mut text) = match down.is_empty() {
        true => (StatusCode::OK, "ok\n".to_owned()),
        false => (StatusCode::SERVICE_UNAVAILABLE, String::new()),
    };
    for line in &down {
        text.push_str(&format!("{}\n", visible(line, MAX_LINE)));
    }
    let facts = admin.reloads.facts.load();
    for door in &facts.open_doors {
        text.push_str(&format!("open without a key or token: {}\n", door.as_str()));
    }
    if facts.runs_no_server {
        text.push_str("no servers: the settings file has none that can run\n");
    }
    if let Some(stale) = stale(&admin) {
        text.push_str(&format!("store: {stale}\n"));
    }
    if let (state, why) = admin.records.folder()
        && state != FolderState::Fine
    {
        text.push_str(&format!("data folder: {}: {why}\n", state.as_str()));
    }
    for (_, line) in admin.pressure.shortages() {
        text.push_str(&format!("{line}\n"));
    }
    (status, text).into_response()
}

/// Whether the query has `servers`, alone or as `servers=true`.
fn asks_for_servers(query: &str) -> Result<bool, &'static str> {
    let mut asked = false;
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, "true"));
        if name == "servers" {
            asked = match value {
                "true" | "1" | "" => true,
                "false" | "0" => false,
                _ => return Err("servers must be true or false\n"),
            };
        }
    }
    Ok(asked)
}

/// The servers that cannot be used, a line each. Nothing that a server has said is in them: a probe
/// needs no key.
fn down(admin: &Admin) -> Vec<String> {
    let servers = conditions(&admin.registry.entries());
    let down = servers.iter().filter(|server| server.state() == Condition::Down);
    down.filter_map(|server| server.line(false)).take(MOST_LINES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_asks_for_servers_by_name() {
        for (query, expect) in [
            ("", Ok(false)),
            ("servers", Ok(true)),
            ("servers=", Ok(true)),
            ("verbose&servers=true", Ok(true)),
            ("servers=0", Ok(false)),
            ("server", Ok(false)),
        ] {
            assert_eq!(asks_for_servers(query), expect, "{query}");
        }
        assert!(asks_for_servers("servers=counter").is_err());
    }
}
