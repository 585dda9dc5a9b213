//! `POST /api/cluster/*`: the endpoints that nodes call, and `join` on a node.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use serde_json::{Value, json};

use crate::cluster::{Heartbeat, Registration, Rejected};

use super::answer::Answer;
use super::extract::{Admitted, FromNode};
use super::{Admin, Role};

pub async fn register(from: FromNode<Registration>) -> Answer {
    let FromNode { control, caller, message } = from;
    let registered = control.register(message, caller.peer, &caller.link).await;
    answer(registered.map(|entry| json!({"id": entry.id.as_str(), "url": entry.url})))
}

pub async fn heartbeat(from: FromNode<Heartbeat>) -> Answer {
    answer(from.control.heartbeat(from.message).map(|()| json!({})))
}

pub async fn deregister(from: FromNode<Heartbeat>) -> Answer {
    let bye = from.message;
    let gone = from.control.deregister(&bye.id, bye.incarnation.as_deref()).await;
    answer(gone.map(|()| json!({})))
}

/// Registers a node that was started with `registerOnStartup: false`.
pub async fn join(_: Admitted, State(admin): State<Arc<Admin>>) -> Answer {
    match &admin.role {
        Role::Node { join, .. } => {
            join.notify_one();
            Answer::Data(json!({"id": admin.node_id.as_str()}))
        }
        Role::Standalone | Role::Coordinator { .. } => {
            Answer::failure(StatusCode::FORBIDDEN, "This endpoint is only available on nodes")
        }
    }
}

fn answer(taken: Result<Value, Rejected>) -> Answer {
    let rejected = match taken {
        Ok(data) => return Answer::Data(data),
        Err(rejected) => rejected,
    };
    let status = match rejected {
        Rejected::BadRequest(_) => StatusCode::BAD_REQUEST,
        Rejected::Unknown(_) => StatusCode::NOT_FOUND,
        Rejected::InUse(_) => StatusCode::CONFLICT,
    };
    Answer::failure(status, rejected.to_string())
}
