//! `/health`, `/livez`, `/readyz`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::json;

use crate::cluster::{Joined, Status};
use crate::model::{ServerName, UnixMillis};

use super::answer::Answer;
use super::extract::Admitted;
use super::{Admin, Role, local};

/// Said to whom the text is not shown: it may quote what a server has written to
/// stderr.
const FAILED: &str = "it failed; whoever may use /api is told why";

/// 200 while the process serves, to anybody; the detail is in the body.
pub async fn health(
    admitted: Result<Admitted, Answer>,
    State(admin): State<Arc<Admin>>,
) -> Response {
    let states = admin.host.states();
    let server = |server: &ServerName| {
        let why = |text: Option<&str>| match &admitted {
            Ok(_) => text.map(str::to_owned),
            Err(_) => text.map(|_| FAILED.to_owned()),
        };
        let state = states.get(server).map(local::health).unwrap_or_default();
        json!({
            "name": server.as_str(),
            "discovered": admin.host.discovery.digest(server).is_some(),
            "error": why(admin.host.discovery.failure(server).as_deref()),
            "status": state.status,
            "failures": state.failures,
            "nextAttemptMs": state.next_attempt_ms,
            "lastError": why(state.last_error.as_deref()),
        })
    };
    let entries = admin.registry.entries();
    let (mode, joined) = match &admin.role {
        Role::Standalone => ("standalone", None),
        Role::Coordinator { .. } => ("coordinator", None),
        Role::Node { joined, .. } => ("node", Some(*joined.borrow())),
    };
    let active = entries.iter().filter(|entry| entry.status == Status::Active).count();
    Json(json!({
        "status": "ok",
        "mode": mode,
        "nodeId": admin.node_id.as_str(),
        "version": env!("CARGO_PKG_VERSION"),
        "uptimeMs": u64::try_from(UnixMillis::now().since(admin.started_at).as_millis()).unwrap_or(u64::MAX),
        "registered": joined.map(|joined| joined == Joined::Registered),
        "cluster": {"nodes": entries.len(), "activeNodes": active},
        "servers": admin.host.servers().map(server).collect::<Vec<_>>(),
    }))
    .into_response()
}

pub async fn livez() -> &'static str {
    "ok\n"
}

/// A node is ready when its coordinator can send it sessions.
pub async fn readyz(State(admin): State<Arc<Admin>>) -> Response {
    match &admin.role {
        Role::Node { joined, .. } if *joined.borrow() == Joined::Registering => {
            (StatusCode::SERVICE_UNAVAILABLE, "not registered with the coordinator yet\n")
                .into_response()
        }
        _ => "ok\n".into_response(),
    }
}
