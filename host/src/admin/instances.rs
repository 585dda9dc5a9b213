//! `GET /api/cluster/instances`: running server instances, of this process or of
//! all nodes.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use crate::cluster::{
    self, InstanceCursor, InstanceQuery, MOST_INSTANCES, MOST_LINES, USUAL_INSTANCES, USUAL_LINES,
};
use crate::model::{NodeId, ServerName};
use crate::protocol::objects::object_only;

use super::Admin;
use super::answer::ApiAnswer;
use super::extract::{AdmittedCaller, QueryParams};

#[derive(Deserialize)]
#[serde(remote = "Self")]
pub struct InstanceFilter {
    server: Option<String>,
    node: Option<String>,
    limit: Option<usize>,
    /// Stderr lines of each instance.
    lines: Option<usize>,
    /// The `next` of the previous page.
    after: Option<String>,
}
object_only!(InstanceFilter);

pub async fn instances(
    AdmittedCaller(caller): AdmittedCaller,
    State(admin): State<Arc<Admin>>,
    QueryParams(filter): QueryParams<InstanceFilter>,
) -> ApiAnswer {
    let after = match filter.after.as_deref().map(place) {
        None => None,
        Some(Some(after)) => Some(after),
        Some(None) => {
            let text = "after is not valid: send the next of the previous page unchanged";
            return ApiAnswer::failure(StatusCode::BAD_REQUEST, text);
        }
    };
    let server = match filter.server.as_deref().map(ServerName::parse).transpose() {
        Ok(server) => server,
        Err(error) => return bad("server", &error),
    };
    let node = match node_of(&admin, filter.node.as_deref()) {
        Ok(node) => node,
        Err(refused) => return refused,
    };
    let look = InstanceQuery {
        server,
        after: None,
        limit: filter.limit.unwrap_or(USUAL_INSTANCES).clamp(1, MOST_INSTANCES),
        lines: filter.lines.unwrap_or(USUAL_LINES).min(MOST_LINES),
    };
    let asked =
        cluster::overview(&admin.registry, &admin.view, &caller.link, node.as_ref(), after, look);
    let mut overview = asked.await;
    overview.instances.retain(|instance| caller.sees_named(&instance.server));
    overview.servers.retain(|server| caller.sees_named(&server.server));
    ApiAnswer::Data(json!({
        "instances": overview.instances,
        "servers": overview.servers,
        "unreachable": overview.unreachable,
        "next": overview.next.map(|(node, place)| format!("{node}/{place}")),
    }))
}

/// Parses `{node}/{place}`.
fn place(text: &str) -> Option<(String, InstanceCursor)> {
    let (node, place) = text.split_once('/')?;
    Some((node.to_owned(), InstanceCursor::parse(place)?))
}

/// The node that a request names, if any; 404 if it is not in the registry.
pub(super) fn node_of(admin: &Admin, name: Option<&str>) -> Result<Option<NodeId>, ApiAnswer> {
    let Some(name) = name else { return Ok(None) };
    let id = NodeId::parse(name).map_err(|error| bad("node", &error))?;
    match admin.registry.get(&id) {
        Some(_) => Ok(Some(id)),
        None => Err(ApiAnswer::failure(StatusCode::NOT_FOUND, format!("Node not found: {id}"))),
    }
}

pub(super) fn bad(parameter: &str, error: &impl std::fmt::Display) -> ApiAnswer {
    ApiAnswer::failure(StatusCode::BAD_REQUEST, format!("{parameter} {error}"))
}
