//! `GET /api/logs`: what a server's processes write to stderr, on all nodes.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use http::{StatusCode, header};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;

use crate::cluster::{BEAT, LogEvent, LogQuery, LogSources, MOST_LOG_LINES, Since};
use crate::model::{ServerName, visible};
use crate::protocol::objects::object_only;
use crate::protocol::{headers, sse};

use super::Admin;
use super::answer::ApiAnswer;
use super::extract::{AdmittedCaller, QueryParams};
use super::instances::{bad, node_of};

/// Lines unless the request says how many: one or two screens.
const USUAL_LINES: usize = 100;

#[derive(Deserialize)]
#[serde(remote = "Self")]
pub struct Query {
    server: String,
    node: Option<String>,
    lines: Option<usize>,
    #[serde(default)]
    follow: bool,
}
object_only!(Query);

pub async fn logs(
    AdmittedCaller(caller): AdmittedCaller,
    State(admin): State<Arc<Admin>>,
    QueryParams(query): QueryParams<Query>,
) -> Response {
    let server = match ServerName::parse(&query.server) {
        Ok(server) => server,
        Err(error) => return bad("server", &error).into_response(),
    };
    let node = match node_of(&admin, query.node.as_deref()) {
        Ok(node) => node,
        Err(refused) => return refused.into_response(),
    };
    let is_there = admin.registry.entries().iter().any(|entry| entry.servers.contains_key(&server));
    if !is_there || !caller.sees(&server) {
        let text = format!("Server not found: {server}");
        return ApiAnswer::failure(StatusCode::NOT_FOUND, text).into_response();
    }
    let lines = query.lines.unwrap_or(USUAL_LINES).min(MOST_LOG_LINES);
    let wanted = LogQuery { server, node, since: Since::Last(lines) };
    let sources = LogSources {
        registry: Arc::clone(&admin.registry),
        view: Arc::clone(&admin.view),
        link: caller.link,
    };
    if query.follow {
        let body = Body::from_stream(events(sources.follow(wanted)));
        let kind =
            [(header::CONTENT_TYPE, headers::EVENT_STREAM), (header::CACHE_CONTROL, "no-store")];
        return (kind, body).into_response();
    }
    let (lines, unreachable) = sources.last(&wanted).await;
    ApiAnswer::Data(json!({"lines": lines, "unreachable": unreachable})).into_response()
}

/// Log events as server-sent events, each named by its kind; a keep-alive comment
/// after [`BEAT`] without one.
fn events(
    events: mpsc::Receiver<LogEvent>,
) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> + Send {
    stream::unfold(events, |mut events| async move {
        let text = match tokio::time::timeout(BEAT, events.recv()).await {
            Ok(Some(event)) => {
                let name = match event {
                    LogEvent::Line { .. } => "line",
                    LogEvent::Lost { .. } => "lost",
                    LogEvent::Unreachable { .. } => "unreachable",
                };
                let data = serde_json::to_string(&event).unwrap_or_default();
                Bytes::from(format!("event: {name}\ndata: {}\n\n", visible::json(&data)))
            }
            Ok(None) => return None,
            Err(_silent) => Bytes::from_static(sse::KEEP_ALIVE),
        };
        Some((Ok(text), events))
    })
}
