//! The health checks `/health`, `/livez` and `/readyz`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::json;

use crate::cluster::{Joined, LeaseStatus};
use crate::model::{ServerName, UnixMillis};
use crate::store::FolderState;

use super::answer::ApiAnswer;
use super::extract::AdmittedCaller;
use super::{Admin, ProcessRole, local};

/// Replaces the reason of a failure for callers that may not use `/api`: the reason
/// may quote a server's stderr.
const FAILED: &str = "it failed; callers that may use /api see the reason";

/// Answers 200 to every caller while the process serves; the detail is in the body.
pub async fn health(
    admitted: Result<AdmittedCaller, ApiAnswer>,
    State(admin): State<Arc<Admin>>,
) -> Response {
    let states = admin.runner.states();
    let server = |server: &ServerName| {
        let why = |text: Option<&str>| match &admitted {
            Ok(_) => text.map(str::to_owned),
            Err(_) => text.map(|_| FAILED.to_owned()),
        };
        let state = states.get(server).map(local::health).unwrap_or_default();
        json!({
            "name": server.as_str(),
            "discovered": admin.runner.discovery.digest(server).is_some(),
            "error": why(admin.runner.discovery.failure(server).as_deref()),
            "status": state.status,
            "failures": state.failures,
            "nextAttemptMs": state.next_attempt_ms,
            "lastError": why(state.last_error.as_deref()),
            "flaws": match &admitted {
                Ok(_) => state.flaws,
                Err(_) => Vec::new(),
            },
        })
    };
    let (folder, why) = admin.records.folder();
    // The reason is the system's. It names no path.
    let folder_why = (folder != FolderState::Fine).then_some(why);
    let entries = admin.registry.entries();
    let (mode, joined) = match &admin.role {
        ProcessRole::Standalone => ("standalone", None),
        ProcessRole::Coordinator { .. } => ("coordinator", None),
        ProcessRole::Node { joined, .. } => ("node", Some(*joined.borrow())),
    };
    let active = entries.iter().filter(|entry| entry.status == LeaseStatus::Active).count();
    let shortages = admin.pressure.shortages();
    let shortages: Vec<&str> = shortages.iter().map(|(_, line)| line.as_str()).collect();
    Json(json!({
        "status": "ok",
        "mode": mode,
        "nodeId": admin.node_id.as_str(),
        "version": env!("CARGO_PKG_VERSION"),
        "uptimeMs": u64::try_from(UnixMillis::now().since(admin.started_at).as_millis()).unwrap_or(u64::MAX),
        "registered": joined.map(|joined| joined == Joined::Registered),
        "cluster": {"nodes": entries.len(), "activeNodes": active},
        "shortages": shortages,
        "dataFolder": {"state": folder.as_str(), "why": folder_why},
        "servers": admin.runner.servers().iter().map(server).collect::<Vec<_>>(),
    }))
    .into_response()
}

pub async fn livez() -> &'static str {
    "ok\n"
}

/// Answers 200 if the process can take sessions: a node once it is registered (or
/// waits for `join`), every other process at once. A process that ends answers 503 and serves what
/// it has. Further lines name what neither key nor token closes, a settings file without servers, a
/// data folder that cannot be used, and what the machine is short of: sessions go on and others
/// begin, so that is no reason to send nobody here.
pub async fn readyz(State(admin): State<Arc<Admin>>) -> Response {
    if admin.leaving.is_ending() {
        return (StatusCode::SERVICE_UNAVAILABLE, "ending: takes no new sessions\n")
            .into_response();
    }
    match &admin.role {
        ProcessRole::Node { joined, .. } if *joined.borrow() == Joined::Registering => {
            (StatusCode::SERVICE_UNAVAILABLE, "not registered with the coordinator yet\n")
                .into_response()
        }
        _ => {
            let mut text = "ok\n".to_owned();
            let facts = admin.reloads.facts.load();
            for door in &facts.open_doors {
                text.push_str(&format!("open without a key or token: {}\n", door.as_str()));
            }
            if facts.runs_no_server {
                text.push_str("no servers: the settings file has none that can run\n");
            }
            if let (state, why) = admin.records.folder()
                && state != FolderState::Fine
            {
                text.push_str(&format!("data folder: {}: {why}\n", state.as_str()));
            }
            for (_, line) in admin.pressure.shortages() {
                text.push_str(&format!("{line}\n"));
            }
            text.into_response()
        }
    }
}
