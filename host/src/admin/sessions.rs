//! `GET /api/cluster/sessions` and `/api/cluster/sessions/{id}`: the sessions of this gateway's
//! clients. The list, and what is found by a short hash, never shows a whole id.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::model::{NodeId, ServerName, SessionId};
use crate::protocol::objects::object_only;
use crate::store::{Record, SessionQuery};

use super::answer::ApiAnswer;
use super::extract::{AdmittedCaller, AtCoordinator, PathName, QueryParams};
use super::instances::bad;
use super::{Admin, ApiCaller};

/// Digits of the short hash, as in the log.
const SHORT: usize = 8;
/// Sessions of one answer if the caller gives no number, and most.
const USUAL: usize = 100;
const MOST: usize = 500;

#[derive(Deserialize)]
#[serde(remote = "Self")]
pub struct SessionFilter {
    /// The beginning of the short hash.
    session: Option<String>,
    server: Option<String>,
    node: Option<String>,
    limit: Option<usize>,
    /// The `next` of the previous page.
    after: Option<String>,
}
object_only!(SessionFilter);

pub async fn sessions(
    AdmittedCaller(caller): AdmittedCaller,
    State(admin): State<Arc<Admin>>,
    QueryParams(filter): QueryParams<SessionFilter>,
) -> ApiAnswer {
    let limit = filter.limit.unwrap_or(USUAL).clamp(1, MOST);
    let query = match query(filter) {
        Ok(query) => SessionQuery { seen_with: caller.rights().cloned(), ..query },
        Err(refused) => return refused,
    };
    let page = admin.bindings.list(&query, limit);
    let sessions = page.sessions.iter().map(|(session, record)| {
        let mut shown = json!({
            "session": session.short(),
            "createdAt": record.created.0,
            "lastAccessed": record.last_used.0,
            "expiresAt": record.last_used.plus(admin.affinity_timeout).0,
            "listens": record.listens(),
        });
        if let Some(members) = shown.as_object_mut() {
            members.insert("bindings".to_owned(), bindings(&caller, record));
        }
        shown
    });
    ApiAnswer::Data(json!({
        "sessions": sessions.collect::<Vec<_>>(),
        "total": page.total,
        "next": page.next,
    }))
}

fn query(filter: SessionFilter) -> Result<SessionQuery, ApiAnswer> {
    let server = filter.server.as_deref().map(ServerName::parse).transpose();
    let node = filter.node.as_deref().map(NodeId::parse).transpose();
    let hash = |name: &str, text: Option<String>| match text {
        Some(text) => short(&text).map(Some).ok_or_else(|| {
            bad(name, &"must be hexadecimal digits of the log's short hash, at most 8")
        }),
        None => Ok(None),
    };
    Ok(SessionQuery {
        short: hash("session", filter.session)?.unwrap_or_default(),
        server: server.map_err(|error| bad("server", &error))?,
        node: node.map_err(|error| bad("node", &error))?,
        after: hash("after", filter.after)?,
        seen_with: None,
    })
}

/// The beginning of a short hash, or a whole one, in lower case.
fn short(text: &str) -> Option<String> {
    let is_hash = text.len() <= SHORT && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_hash && !text.is_empty()).then(|| text.to_ascii_lowercase())
}

pub async fn session(
    AtCoordinator(caller): AtCoordinator,
    State(admin): State<Arc<Admin>>,
    PathName(id): PathName,
) -> ApiAnswer {
    if let Some(short) = short(&id).filter(|short| short.len() == SHORT) {
        return by_short(&admin, &caller, short);
    }
    let session = SessionId::parse(&id).or_else(|| admin.keys.peek(&id));
    if let (Some(session), Some(sharing)) = (session, &admin.sharing) {
        sharing.look_up(session).await;
    }
    match session.and_then(|session| Some((session, admin.bindings.record(session)?))) {
        Some((session, record)) => affinity(&admin, &caller, &session.to_string(), &record),
        None => ApiAnswer::failure(StatusCode::NOT_FOUND, "Session affinity not found"),
    }
}

/// The session that a line of the log names.
fn by_short(admin: &Admin, caller: &ApiCaller, short: String) -> ApiAnswer {
    let seen_with = caller.rights().cloned();
    let query = SessionQuery { short, seen_with, ..SessionQuery::default() };
    let found = admin.bindings.list(&query, 2);
    match &found.sessions[..] {
        [] => ApiAnswer::failure(StatusCode::NOT_FOUND, "Session affinity not found"),
        [(session, record)] => affinity(admin, caller, &session.short(), record),
        several => {
            let count = several.len();
            let text = format!("{count} sessions have this hash: name one by its whole id");
            ApiAnswer::failure(StatusCode::CONFLICT, text)
        }
    }
}

fn affinity(admin: &Admin, caller: &ApiCaller, id: &str, record: &Record) -> ApiAnswer {
    let latest = record.latest().filter(|(server, _)| caller.sees(server));
    if caller.rights().is_some() && !record.servers.iter().any(|(server, _)| caller.sees(server)) {
        return ApiAnswer::failure(StatusCode::NOT_FOUND, "Session affinity not found");
    }
    let mut answer = json!({
        "sessionId": id,
        "nodeId": latest.map(|(_, binding)| binding.node.as_str()),
        "createdAt": record.created.0,
        "lastAccessed": record.last_used.0,
        "expiresAt": record.last_used.plus(admin.affinity_timeout).0,
        "bindings": bindings(caller, record),
    });
    if let (Some((server, _)), Some(members)) = (latest, answer.as_object_mut()) {
        members.insert("serverId".to_owned(), server.as_str().into());
    }
    ApiAnswer::Data(answer)
}

fn bindings(caller: &ApiCaller, record: &Record) -> Value {
    let seen = record.servers.iter().filter(|(server, _)| caller.sees(server));
    let bindings = seen.map(|(server, binding)| {
        json!({
            "serverId": server.as_str(),
            "nodeId": binding.node.as_str(),
            "createdAt": binding.since.0,
            "lastAccessed": binding.last_used.0,
        })
    });
    bindings.collect::<Vec<_>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_hash_is_up_to_eight_digits() {
        assert_eq!(short("0A1b").as_deref(), Some("0a1b"));
        assert_eq!(short("0a1b2c3d").as_deref(), Some("0a1b2c3d"));
        for wrong in ["", "0a1b2c3d4", "xyz", "0a-1", "ms1_0a1b"] {
            assert_eq!(short(wrong), None, "{wrong}");
        }
    }
}
