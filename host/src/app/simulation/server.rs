//! The MCP servers of the simulated nodes: Streamable HTTP, with a session that counts.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use serde_json::{Value, json};

use crate::net::{Body, Failure, collect};
use crate::protocol::headers;

use super::world::World;

/// Bytes of a message.
const MOST: usize = 1 << 20;

/// Answers one request to a node's server.
pub async fn answer(
    world: &Arc<World>,
    node: usize,
    request: Request<Body>,
) -> Result<Response<Body>, Failure> {
    let (head, body) = request.into_parts();
    let named = head.headers.get(headers::SESSION).and_then(|id| id.to_str().ok());
    let body = collect(body, MOST).await.map_err(|error| Failure::Broken(error.to_string()))?;
    world.pause_a_little(named.unwrap_or("an initialize")).await;
    match (&head.method, named) {
        (&Method::POST, None) => Ok(initialized(world.servers.begin(node), &body)),
        (&Method::POST, Some(id)) if world.servers.lives(id) => called(world, id, &body).await,
        (&Method::DELETE, Some(id)) => {
            world.servers.end(id);
            Ok(empty(StatusCode::OK))
        }
        (&Method::GET, _) => Ok(empty(StatusCode::METHOD_NOT_ALLOWED)),
        _ => Ok(empty(StatusCode::NOT_FOUND)),
    }
}

async fn called(world: &Arc<World>, id: &str, body: &[u8]) -> Result<Response<Body>, Failure> {
    let message: Value = serde_json::from_slice(body).unwrap_or_default();
    let Some(number) = message.get("id") else { return Ok(empty(StatusCode::ACCEPTED)) };
    let result = match message["method"].as_str() {
        Some("tools/call") => {
            if let Some(key) = message["params"]["arguments"]["key"].as_str() {
                world.trace(|| format!("{key} runs at {id}"));
                world.witness.runs(key);
            }
            let count = world.servers.count(id);
            json!({"content": [], "structuredContent": {"instance": id, "count": count}})
        }
        Some("tools/list") => json!({"tools": [], "_meta": {"instance": id}}),
        _ => json!({}),
    };
    world.work(id).await;
    if !world.servers.lives(id) {
        return Err(Failure::Broken("the server has died".to_owned()));
    }
    Ok(answered(&json!({"jsonrpc": "2.0", "id": number, "result": result})))
}

fn initialized(id: String, body: &[u8]) -> Response<Body> {
    let message: Value = serde_json::from_slice(body).unwrap_or_default();
    let result = json!({
        "protocolVersion": message["params"]["protocolVersion"],
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "simulated", "version": "1"},
    });
    let mut response = answered(&json!({"jsonrpc": "2.0", "id": message["id"], "result": result}));
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(headers::SESSION, id);
    }
    response
}

fn answered(message: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(Bytes::from(message.to_string())));
    let json = HeaderValue::from_static(headers::JSON);
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    response
}
