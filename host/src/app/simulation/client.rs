//! A client with one session: calls, one after the other, until all is over.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{HeaderValue, Method, Request, StatusCode, header};
use serde_json::{Value, json};

use crate::net::played::PlayedTarget;
use crate::net::{Body, collect};
use crate::protocol::headers;

use super::network::exchange;
use super::plan::COORDINATOR;
use super::witness::Invariant;
use super::world::World;

const MOST: usize = 1 << 20;
/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Once nothing fails any more: how long a session may take until it is served.
const SERVED_WITHIN: u64 = 30_000;
const PROTOCOL: &str = "2025-06-18";

/// What came of a request.
enum Came {
    /// Of the instance that has answered.
    Answer(Value),
    Error(String),
    /// The session is not known.
    Unknown,
}

pub struct Client {
    world: Arc<World>,
    name: String,
    /// The session's id, once it has begun.
    id: Option<HeaderValue>,
    requests: u64,
}

impl Client {
    pub fn new(world: &Arc<World>, number: usize) -> Self {
        Self { world: Arc::clone(world), name: format!("session {number}"), id: None, requests: 0 }
    }

    /// Uses the session while faults happen, and then until it is served twice.
    pub async fn run(mut self) {
        while !self.world.is_calm.load(Ordering::Relaxed) {
            self.step().await;
            let pause = self.world.chance(&self.name, |chance| match chance.below(6) {
                0 => chance.millis(1500, 4000),
                1 | 2 => chance.millis(0, 20),
                _ => chance.millis(100, 900),
            });
            tokio::time::sleep(pause).await;
        }
        let (mut served, deadline) = (0, super::clock::elapsed() + SERVED_WITHIN);
        let mut last = String::new();
        while served < 2 {
            if super::clock::elapsed() > deadline {
                let what = format!("{} is not served: {last}", self.name);
                return self.world.witness.violated(Invariant::Served, what);
            }
            match self.step().await {
                None => served += 1,
                Some(why) => last = why,
            }
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
    }

    /// One request. Returns why it was not answered.
    async fn step(&mut self) -> Option<String> {
        if self.id.is_none() {
            return self.begin().await;
        }
        let is_safe = self.world.chance(&self.name, |chance| chance.one_in(3));
        let key = format!("{} of {}", self.requests, self.name);
        let came = if is_safe {
            self.request("tools/list", json!({})).await
        } else {
            let params = json!({"name": "count", "arguments": {"key": key}});
            self.request("tools/call", params).await
        };
        let name = &self.name;
        match came {
            Came::Answer(result) => {
                let said = if is_safe { &result["_meta"] } else { &result["structuredContent"] };
                self.world.trace(|| format!("{name} has an answer: {said}"));
                if let Some(instance) = said["instance"].as_str() {
                    self.world.answered(name, instance);
                }
                None
            }
            Came::Error(why) => {
                self.world.trace(|| format!("{name} has an error: {why}"));
                Some(why)
            }
            Came::Unknown => {
                let what = format!("{name} is not known any more");
                self.world.trace(|| what.clone());
                self.world.witness.violated(Invariant::Served, what.clone());
                self.id = None;
                Some(what)
            }
        }
    }

    async fn begin(&mut self) -> Option<String> {
        let params = json!({
            "protocolVersion": PROTOCOL, "capabilities": {},
            "clientInfo": {"name": self.name, "version": "1"},
        });
        match self.request("initialize", params).await {
            Came::Answer(_) => {
                self.world.trace(|| format!("{} has begun", self.name));
                let text = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
                let _ = self.post(&text).await;
                None
            }
            Came::Error(why) => Some(why),
            Came::Unknown => Some("initialize is answered 404".to_owned()),
        }
    }

    async fn request(&mut self, method: &str, params: Value) -> Came {
        self.requests += 1;
        let id = json!(self.requests);
        let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let (status, text) = match self.post(&message).await {
            Ok(answered) => answered,
            Err(why) => return Came::Error(why),
        };
        if status == StatusCode::NOT_FOUND && self.id.is_some() {
            return Came::Unknown;
        }
        let answer = messages(&text).into_iter().find(|message| message["id"] == id);
        match answer {
            Some(mut answer) if answer["result"].is_object() => {
                Came::Answer(answer["result"].take())
            }
            _ => Came::Error(format!("{status} {text}")),
        }
    }

    /// Posts a message. Returns status and body of the response.
    async fn post(&mut self, message: &Value) -> Result<(StatusCode, String), String> {
        let mut request = Request::new(Body::from(bytes::Bytes::from(message.to_string())));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = http::Uri::from_static("/mcp/s");
        let head = request.headers_mut();
        head.insert(header::HOST, HeaderValue::from_static("127.0.0.1:3000"));
        head.insert(header::CONTENT_TYPE, HeaderValue::from_static(headers::JSON));
        let both = HeaderValue::from_static("application/json, text/event-stream");
        head.insert(header::ACCEPT, both);
        if let Some(id) = &self.id {
            head.insert(headers::SESSION, id.clone());
            head.insert(headers::PROTOCOL_VERSION, HeaderValue::from_static(PROTOCOL));
        }
        let host = self.world.processes[COORDINATOR].host.clone();
        let to = PlayedTarget { host, port: 3000, expected: None };
        let answering = async {
            let answered = exchange(&self.world, None, &self.name, &to, request).await;
            let response = answered.map_err(|failure| failure.to_string())?;
            let (head, body) = response.into_parts();
            let text = collect(body, MOST).await.map_err(|error| error.to_string())?;
            Ok::<_, String>((head, String::from_utf8_lossy(&text).into_owned()))
        };
        let answered = tokio::time::timeout(PATIENCE, answering).await;
        let (head, text) = answered.unwrap_or_else(|_| Err("no answer in a minute".to_owned()))?;
        if let Some(id) = head.headers.get(headers::SESSION).filter(|_| self.id.is_none()) {
            self.id = Some(id.clone());
        }
        Ok((head.status, text))
    }
}

/// The messages of a body, which may be an event stream.
fn messages(text: &str) -> Vec<Value> {
    if let Ok(message) = serde_json::from_str(text) {
        return vec![message];
    }
    let lines = text.lines().filter_map(|line| line.strip_prefix("data:"));
    lines.filter_map(|line| serde_json::from_str(line.trim()).ok()).collect()
}
