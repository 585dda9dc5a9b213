//! `POST /api/cluster/*`: what nodes call, and `join` on a node.

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::cluster::{Control, Gate, Heartbeat, Registration, Rejected};

use super::answer::Answer;
use super::cluster::only_coordinator;
use super::{Admin, Caller, Role};

pub async fn register(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let control = match gated(&admin, &headers, &caller).await {
        Ok(control) => control,
        Err(refused) => return refused,
    };
    let registration: Registration = match parsed(&body) {
        Ok(registration) => registration,
        Err(refused) => return refused,
    };
    match control.register(registration, caller.peer, &caller.link).await {
        Ok(entry) => Answer::Data(json!({"id": entry.id.as_str(), "url": entry.url})),
        Err(rejected) => refuse(&rejected),
    }
}

pub async fn heartbeat(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let control = match gated(&admin, &headers, &caller).await {
        Ok(control) => control,
        Err(refused) => return refused,
    };
    let taken = parsed(&body).map(|heartbeat: Heartbeat| control.heartbeat(heartbeat));
    match taken {
        Ok(Ok(())) => Answer::Data(json!({})),
        Ok(Err(rejected)) => refuse(&rejected),
        Err(refused) => refused,
    }
}

pub async fn deregister(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let control = match gated(&admin, &headers, &caller).await {
        Ok(control) => control,
        Err(refused) => return refused,
    };
    let left =
        parsed(&body).map(|bye: Heartbeat| control.deregister(&bye.id, bye.incarnation.as_deref()));
    match left {
        Ok(Ok(())) => Answer::Data(json!({})),
        Ok(Err(rejected)) => refuse(&rejected),
        Err(refused) => refused,
    }
}

/// On a node with `registerOnStartup: false`: register now.
pub async fn join(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Answer {
    if let Err((status, text)) = (admin.admit)(&headers, caller.local) {
        return Answer::failure(status, text);
    }
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

async fn gated(
    admin: &Admin,
    headers: &HeaderMap,
    caller: &Caller,
) -> Result<Arc<Control>, Answer> {
    let Role::Coordinator { control, gate } = &admin.role else {
        return Err(only_coordinator());
    };
    check(gate, headers, caller).await?;
    Ok(Arc::clone(control))
}

async fn check(gate: &Gate, headers: &HeaderMap, caller: &Caller) -> Result<(), Answer> {
    gate.check(headers, caller.peer.ip()).await.map_err(|denied| {
        let status =
            if gate.token.is_some() { StatusCode::UNAUTHORIZED } else { StatusCode::FORBIDDEN };
        Answer::failure(status, denied.to_string())
    })
}

fn parsed<T: DeserializeOwned>(body: &Bytes) -> Result<T, Answer> {
    serde_json::from_slice(body).map_err(|error| {
        Answer::failure(
            StatusCode::BAD_REQUEST,
            format!("the body is not what is expected: {error}"),
        )
    })
}

fn refuse(rejected: &Rejected) -> Answer {
    let status = match rejected {
        Rejected::BadRequest(_) => StatusCode::BAD_REQUEST,
        Rejected::Unknown(_) => StatusCode::NOT_FOUND,
        Rejected::InUse(_) => StatusCode::CONFLICT,
    };
    Answer::failure(status, rejected.to_string())
}
