//! `POST /api/cluster/nodes/{id}/drain` and `/undrain`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use crate::cluster::{Control, NotOrdered};
use crate::model::ServerName;
use crate::protocol::objects::object_only;
use crate::telemetry::AuditEntry;

use super::answer::ApiAnswer;
use super::cluster::drain as shown;
use super::extract::{AtCoordinator, ONLY_COORDINATOR, PathName, WholeCaller};
use super::{Admin, ApiCaller, ProcessRole};

/// Longest deadline, in milliseconds: a day.
const MAX_DEADLINE: u64 = 24 * 3600 * 1000;

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(remote = "Self")]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct DrainRequest {
    deadline_ms: Option<u64>,
}
object_only!(DrainRequest);

pub async fn drain(
    AtCoordinator(caller): AtCoordinator,
    _: WholeCaller,
    State(admin): State<Arc<Admin>>,
    PathName(id): PathName,
    body: Bytes,
) -> ApiAnswer {
    let deadline = match deadline(&body) {
        Ok(deadline) => deadline,
        Err(why) => return ApiAnswer::failure(StatusCode::BAD_REQUEST, why),
    };
    let Some(control) = control(&admin) else { return only_coordinator() };
    let ordered = control.drains.drain(&id, deadline, &caller.link).await;
    audit(&admin, "drain", &id, &caller, ordered.as_ref().err());
    match ordered {
        Ok(ordered) => ApiAnswer::Data(json!({
            "id": id,
            "draining": true,
            "drain": shown(&ordered.report),
            "lastReplicaOf": ordered.only_there.iter().map(ServerName::as_str).collect::<Vec<_>>(),
        })),
        Err(why) => refusal(&why),
    }
}

pub async fn undrain(
    AtCoordinator(caller): AtCoordinator,
    _: WholeCaller,
    State(admin): State<Arc<Admin>>,
    PathName(id): PathName,
) -> ApiAnswer {
    let Some(control) = control(&admin) else { return only_coordinator() };
    let taken_back = control.drains.undrain(&id, &caller.link).await;
    audit(&admin, "undrain", &id, &caller, taken_back.as_ref().err());
    match taken_back {
        Ok(was_draining) => ApiAnswer::Data(json!({
            "id": id, "draining": false, "wasDraining": was_draining,
        })),
        Err(why) => refusal(&why),
    }
}

fn audit(
    admin: &Admin,
    what: &'static str,
    node: &str,
    caller: &ApiCaller,
    refused: Option<&NotOrdered>,
) {
    if let Some(audit) = &admin.telemetry.audit {
        let why = refused.map_or_else(|| "admitted".to_owned(), ToString::to_string);
        audit.add(AuditEntry {
            target: Some(node.to_owned()),
            ..caller.audited(what, refused.is_none(), why)
        });
    }
}

fn control(admin: &Admin) -> Option<&Arc<Control>> {
    match &admin.role {
        ProcessRole::Coordinator { control } => Some(control),
        ProcessRole::Standalone | ProcessRole::Node { .. } => None,
    }
}

fn only_coordinator() -> ApiAnswer {
    ApiAnswer::failure(StatusCode::FORBIDDEN, ONLY_COORDINATOR)
}

/// The deadline that a request names; an empty body names none.
fn deadline(body: &[u8]) -> Result<Option<Duration>, String> {
    if body.trim_ascii().is_empty() {
        return Ok(None);
    }
    let request: DrainRequest = serde_json::from_slice(body)
        .map_err(|error| format!("the body is not {{\"deadlineMs\": number}}: {error}"))?;
    match request.deadline_ms {
        Some(millis) if millis > MAX_DEADLINE => {
            Err(format!("deadlineMs must be 0 to {MAX_DEADLINE} (a day)"))
        }
        millis => Ok(millis.map(Duration::from_millis)),
    }
}

fn refusal(why: &NotOrdered) -> ApiAnswer {
    let status = match why {
        NotOrdered::Unknown(_) => StatusCode::NOT_FOUND,
        NotOrdered::NotActive(..) | NotOrdered::Ending(_) => StatusCode::CONFLICT,
        NotOrdered::Older(_) | NotOrdered::Failed(..) => StatusCode::BAD_GATEWAY,
    };
    ApiAnswer::failure(status, why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deadline_is_optional_and_bounded() {
        for body in ["", " \n", "{}", r#"{"deadlineMs": null}"#] {
            assert_eq!(deadline(body.as_bytes()), Ok(None), "{body}");
        }
        assert_eq!(deadline(br#"{"deadlineMs": 0}"#), Ok(Some(Duration::ZERO)));
        let day = br#"{"deadlineMs": 86400000}"#;
        assert_eq!(deadline(day), Ok(Some(Duration::from_hours(24))));
        for wrong in [
            r#"{"deadlineMs": 86400001}"#,
            r#"{"deadlineMs": -1}"#,
            r#"{"deadlineMs": "1"}"#,
            r#"{"deadline": 1}"#,
            "[1]",
            "25",
            "{",
        ] {
            assert!(deadline(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
