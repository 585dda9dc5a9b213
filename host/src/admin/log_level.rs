//! `GET` and `PUT /api/log-level`: which lines the log has, changed while the process runs.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use crate::protocol::objects::object_only;
use crate::telemetry::AuditEntry;

use super::Admin;
use super::answer::ApiAnswer;
use super::extract::WholeCaller;

/// Bytes of a filter.
const MAX_FILTER: usize = 1024;

#[derive(Debug, Deserialize)]
#[serde(remote = "Self")]
#[serde(deny_unknown_fields)]
struct LevelRequest {
    filter: String,
}
object_only!(LevelRequest);

pub async fn get(_: WholeCaller, State(admin): State<Arc<Admin>>) -> ApiAnswer {
    ApiAnswer::Data(json!({"filter": admin.log.current()}))
}

pub async fn put(
    WholeCaller(caller): WholeCaller,
    State(admin): State<Arc<Admin>>,
    body: Bytes,
) -> ApiAnswer {
    let before = admin.log.current();
    let set = requested(&body).and_then(|filter| admin.log.set(&filter).map(|()| filter));
    if let Some(audit) = &admin.telemetry.audit {
        let why = set.as_ref().map_or_else(|why: &String| why.clone(), |_| "admitted".to_owned());
        audit.add(AuditEntry {
            target: set.as_ref().ok().cloned(),
            ..caller.audited("log-level", set.is_ok(), why)
        });
    }
    match set {
        Ok(_) => {
            let filter = admin.log.current();
            tracing::info!(before, filter, "the log has another filter");
            ApiAnswer::Data(json!({"filter": filter, "before": before}))
        }
        Err(why) => ApiAnswer::failure(StatusCode::BAD_REQUEST, why),
    }
}

fn requested(body: &[u8]) -> Result<String, String> {
    let request: LevelRequest = serde_json::from_slice(body).map_err(|error| {
        format!("the body is not {{\"filter\": \"info\"}} or the like: {error}")
    })?;
    let filter = request.filter.trim();
    if filter.is_empty() || filter.len() > MAX_FILTER {
        return Err(format!("the filter has to have 1 to {MAX_FILTER} bytes"));
    }
    Ok(filter.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_one_filter() {
        assert_eq!(requested(br#"{"filter": " debug "}"#), Ok("debug".to_owned()));
        let long = format!(r#"{{"filter": "{}"}}"#, "x".repeat(MAX_FILTER + 1));
        for wrong in ["", "debug", "[\"debug\"]", r#"{"filter": ""}"#, r#"{"level": "x"}"#, &long] {
            assert!(requested(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
