//! `GET /api/cluster/*`: status, nodes and replicas.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cluster::{DrainReport, LeaseStatus, NodeEntry};
use crate::model::{Reach, UnixMillis};
use crate::protocol::objects::object_only;

use super::answer::ApiAnswer;
use super::extract::{AtCoordinator, PathName, QueryParams, StatusCaller};
use super::{Admin, ApiCaller, ProcessRole};

pub async fn status(
    StatusCaller(caller): StatusCaller,
    State(admin): State<Arc<Admin>>,
) -> ApiAnswer {
    let (mode, node_id) = match admin.role {
        ProcessRole::Standalone => {
            return ApiAnswer::Data(json!({
                "enabled": false, "mode": "standalone", "nodeId": null,
                "stats": {"nodes": 0, "activeNodes": 0, "servers": 0, "sessions": 0},
            }));
        }
        ProcessRole::Coordinator { .. } => ("coordinator", &admin.node_id),
        ProcessRole::Node { .. } => ("node", &admin.node_id),
    };
    let entries = admin.registry.entries();
    let servers: BTreeSet<_> = entries
        .iter()
        .filter(|entry| entry.status == LeaseStatus::Active)
        .flat_map(|entry| entry.servers.keys())
        .filter(|server| caller.as_ref().is_none_or(|caller| caller.sees(server)))
        .collect();
    let rights = caller.as_ref().and_then(ApiCaller::rights);
    ApiAnswer::Data(json!({
        "enabled": true,
        "mode": mode,
        "nodeId": node_id.as_str(),
        "stats": {
            "nodes": entries.len(),
            "activeNodes": entries.iter().filter(|e| e.status == LeaseStatus::Active).count(),
            "servers": servers.len(),
            "sessions": admin.bindings.seen(rights),
        },
    }))
}

#[derive(Deserialize)]
#[serde(remote = "Self")]
pub struct NodeFilter {
    active: Option<String>,
}
object_only!(NodeFilter);

pub async fn nodes(
    AtCoordinator(caller): AtCoordinator,
    State(admin): State<Arc<Admin>>,
    QueryParams(filter): QueryParams<NodeFilter>,
) -> ApiAnswer {
    let only_active = filter.active.as_deref() == Some("true");
    let nodes: Vec<Value> = admin
        .registry
        .entries()
        .iter()
        .filter(|entry| !only_active || entry.status == LeaseStatus::Active)
        .map(|entry| node(entry, &caller))
        .collect();
    ApiAnswer::Data(nodes.into())
}

fn node(entry: &NodeEntry, caller: &ApiCaller) -> Value {
    let (host, port, url) = address(entry, caller);
    json!({
        "id": entry.id.as_str(),
        "name": entry.name,
        "host": host,
        "port": port,
        "url": url,
        "status": entry.status.as_str(),
        "lastHeartbeat": last_heartbeat(entry).0,
        "servers": entry.servers.keys().filter(|name| caller.sees(name)).map(|name| name.as_str())
            .collect::<Vec<_>>(),
        "registeredAt": entry.registered_at.0,
        "version": entry.version,
        "protocol": entry.protocol,
        "zone": entry.zone,
        "draining": entry.is_draining(),
        "drain": entry.drain.as_ref().map(drain),
        "suspect": entry.liveness.is_suspect(),
        "silent": entry.liveness.is_silent(),
        "room": entry.load.as_ref().map(|load| load.room),
        "load": entry.load,
    })
}

/// How far a drain has come.
pub(super) fn drain(report: &DrainReport) -> Value {
    let mut shown = json!(report);
    if let Some(members) = shown.as_object_mut() {
        members.insert("sessions".to_owned(), report.waits.sessions().into());
    }
    shown
}

/// The coordinator's own node sends no heartbeats: this answer proves that it lives.
fn last_heartbeat(entry: &NodeEntry) -> UnixMillis {
    if entry.reach == Reach::Local { UnixMillis::now() } else { entry.last_heartbeat }
}

fn address(entry: &NodeEntry, caller: &ApiCaller) -> (String, u16, String) {
    if entry.reach != Reach::Local {
        return (entry.host.clone(), entry.port, entry.url.clone());
    }
    let (host, port) = (caller.local.ip().to_canonical(), caller.local.port());
    let host = if host.is_ipv6() { format!("[{host}]") } else { host.to_string() };
    let url = format!("http://{host}:{port}");
    (host, port, url)
}

pub async fn replicas(
    AtCoordinator(caller): AtCoordinator,
    State(admin): State<Arc<Admin>>,
    PathName(name): PathName,
) -> ApiAnswer {
    let replicas: Vec<Value> = admin
        .registry
        .entries()
        .iter()
        .filter_map(|entry| {
            let replica = entry.servers.get(name.as_str()).filter(|_| caller.sees_named(&name))?;
            Some(json!({
                "serverId": name,
                "nodeId": entry.id.as_str(),
                "nodeUrl": address(entry, &caller).2,
                "status": entry.status.as_str(),
                "weight": replica.weight,
                "digest": replica.digest,
            }))
        })
        .collect();
    ApiAnswer::Data(replicas.into())
}
