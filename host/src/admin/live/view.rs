//! One look at the process and its cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::admin::explain;
use crate::admin::{Admin, ProcessRole};
use crate::cluster::{InstanceReport, Overview};
use crate::model::{ServerName, SessionId};
use crate::store::{FolderState, Record};

use super::counters::{self, CallRates};
use super::difference::{LiveState, Section};
use super::log_lines::{LOG, LogLine};
use super::{nodes, servers};

/// The most entries of a section; the head says how many there are.
const MOST: usize = 500;
/// The most sessions and decisions.
const MOST_OF_PAST: usize = 100;

pub fn look(admin: &Admin, overview: Option<&Overview>, rates: CallRates) -> LiveState {
    let entries = admin.registry.entries();
    let topology = Arc::clone(&admin.registry.topology().borrow());
    let nodes = entries.iter().take(MOST).map(|entry| {
        let node = topology.node(&entry.id).map(|node| &**node);
        (entry.id.to_string(), nodes::shown(admin, entry, node))
    });
    let servers = servers::shown(&entries, &topology, overview, MOST);
    let names: BTreeSet<&ServerName> =
        entries.iter().flat_map(|entry| entry.servers.keys()).collect();
    let instances = overview.map(|overview| overview.instances.as_slice()).unwrap_or_default();
    let sessions = admin.bindings.latest(MOST_OF_PAST);
    let decisions = admin.decisions.last(MOST_OF_PAST, |_| true);
    let errors = counters::errors(admin, overview);
    let mut head = head(admin, overview, (entries.len(), names.len()), rates);
    head["errorsLeftOut"] = errors.left_out.into();
    let sections = [
        ("nodes", section(nodes)),
        ("servers", section(servers.into_iter())),
        ("instances", section(instances.iter().map(instance))),
        ("sessions", section(sessions.iter().map(|(id, record)| session(*id, record)))),
        (
            "decisions",
            section(decisions.iter().map(|made| (made.number.to_string(), explain::shown(made)))),
        ),
        ("errors", section(errors.shown.into_iter())),
        ("limits", section(counters::limits(admin).into_iter())),
        ("log", section(LOG.last().iter().map(line))),
    ];
    LiveState { head: head.to_string().into(), sections: BTreeMap::from(sections) }
}

fn section(entries: impl Iterator<Item = (String, Value)>) -> Section {
    entries.map(|(key, entry)| (key, entry.to_string().into())).collect()
}

fn head(
    admin: &Admin,
    overview: Option<&Overview>,
    (nodes, servers): (usize, usize),
    rates: CallRates,
) -> Value {
    let mode = match &admin.role {
        ProcessRole::Standalone => "standalone",
        ProcessRole::Coordinator { .. } => "coordinator",
        ProcessRole::Node { .. } => "node",
    };
    let mut problems: Vec<String> =
        admin.pressure.shortages().into_iter().map(|(_, line)| line).collect();
    problems.extend(admin.reloads.last().and_then(|last| last.problem()));
    let (folder, why) = admin.records.folder();
    if folder != FolderState::Fine {
        problems.push(format!("data folder: {}: {why}", folder.as_str()));
    }
    if admin.leaving.is_ending() {
        problems.push("this process is ending: it takes no new sessions".to_owned());
    }
    let unreachable = overview.map(|overview| overview.unreachable.as_slice()).unwrap_or_default();
    json!({
        "mode": mode,
        "nodeId": admin.node_id.as_str(),
        "version": env!("CARGO_PKG_VERSION"),
        "startedAt": admin.started_at.0,
        "strategy": format!("{} {}", admin.strategy.name(), admin.strategy.version()),
        "sessions": admin.bindings.sessions(),
        "nodes": nodes,
        "servers": servers,
        "callsPerSecond": rates.calls,
        "errorsPerSecond": rates.errors,
        "problems": problems,
        "unreachable": unreachable,
        "isAsked": overview.is_some(),
        "hasMoreInstances": overview.is_some_and(|overview| overview.next.is_some()),
    })
}

/// An instance, with memory and CPU time as people read them: what changes all the time would be
/// sent all the time.
fn instance(seen: &InstanceReport) -> (String, Value) {
    const MIB: u64 = 1 << 20;
    let entry = json!({
        "server": seen.server,
        "node": seen.node,
        "pid": seen.pid,
        "transport": seen.transport,
        "state": seen.state,
        "sessions": seen.sessions.iter().take(8).collect::<Vec<_>>(),
        "sessionCount": seen.session_count,
        "startedAt": seen.started_at,
        "rssMiB": seen.rss_bytes.map(|bytes| bytes.div_ceil(MIB)),
        "cpuSeconds": seen.cpu_ms.map(|ms| ms / 1000),
        "restarts": seen.restarts,
    });
    (format!("{}/{}", seen.node, seen.place()), entry)
}

fn session(id: SessionId, record: &Record) -> (String, Value) {
    let servers: Vec<Value> = record
        .servers
        .iter()
        .take(20)
        .map(|(server, binding)| json!({"server": server.as_str(), "node": binding.node.as_str()}))
        .collect();
    let entry = json!({
        "session": id.short(),
        "servers": servers,
        "count": record.servers.len(),
        "createdAt": record.created.0,
        // To ten seconds: see above.
        "lastUsed": (record.last_used.0 / 10_000 * 10_000).max(record.created.0),
    });
    // The whole id opens the session's entries: it stays here.
    (format!("{}-{}", id.short(), record.created.0), entry)
}

fn line(line: &LogLine) -> (String, Value) {
    let entry = json!({"at": line.at.0, "level": line.level, "text": line.text});
    (line.number.to_string(), entry)
}
