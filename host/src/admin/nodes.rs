//! `POST /api/cluster/*`: the endpoints that nodes call, and `join` on a node.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use serde_json::{Value, json};

use crate::cluster::{Heartbeat, Registration, Rejected};

use super::answer::{ApiAnswer, refusal};
use super::extract::{FromNode, WholeCaller};
use super::{Admin, ProcessRole};

pub async fn register(from: FromNode<Registration>) -> ApiAnswer {
    let FromNode { control, caller, proved } = from;
    let registered = control.register(proved, &caller.link).await;
    answer(registered.map(|entry| json!({"id": entry.id.as_str(), "url": entry.url})))
}

pub async fn heartbeat(from: FromNode<Heartbeat>) -> ApiAnswer {
    answer(from.control.heartbeat(from.proved).map(|answer| json!(answer)))
}

pub async fn deregister(from: FromNode<Heartbeat>) -> ApiAnswer {
    answer(from.control.deregister(from.proved).await.map(|()| json!({})))
}

/// Registers a node that was started with `registerOnStartup: false`.
pub async fn join(WholeCaller(caller): WholeCaller, State(admin): State<Arc<Admin>>) -> ApiAnswer {
    match &admin.role {
        ProcessRole::Node { join, .. } => {
            join.notify_one();
            if let Some(audit) = &admin.telemetry.audit {
                audit.add(caller.audited("join", true, "admitted".to_owned()));
            }
            ApiAnswer::Data(json!({"id": admin.node_id.as_str()}))
        }
        ProcessRole::Standalone | ProcessRole::Coordinator { .. } => {
            ApiAnswer::failure(StatusCode::FORBIDDEN, "This endpoint is only available on nodes")
        }
    }
}

fn answer(taken: Result<Value, Rejected>) -> ApiAnswer {
    taken.map_or_else(|rejected| refusal(&rejected), ApiAnswer::Data)
}
