//! A client of the gateway's own `/mcp`, as `mooring tools` and `mooring call` need it: one session,
//! one request at a time, no capabilities.

use http::{HeaderMap, HeaderValue, Method, Response, header};
use serde_json::{Value, json};

use crate::net::{Body, EventReader, Read, collect, percent_encoded};
use crate::protocol::headers;
use crate::protocol::jsonrpc::code;
use crate::protocol::version::Version;

use super::gateway::Gateway;

/// Bytes of an answer, and of one event.
const MAX_ANSWER: usize = 64 << 20;
/// Pages of a list.
const MAX_PAGES: usize = 1000;
const ACCEPT: &str = "application/json, text/event-stream";

pub struct McpClient<'a> {
    gateway: &'a Gateway,
    path: String,
    session: Option<HeaderValue>,
    version: Option<HeaderValue>,
    last_id: u64,
}

impl<'a> McpClient<'a> {
    /// Begins a session at `/mcp`, or at that of a server or group.
    ///
    /// # Errors
    /// Why there is none, for people. So it is with all methods.
    pub async fn open(gateway: &'a Gateway, name: Option<&str>) -> Result<Self, String> {
        let path = match name {
            Some(name) => format!("/mcp/{}", percent_encoded(name)),
            None => "/mcp".to_owned(),
        };
        let mut client = Self { gateway, path, session: None, version: None, last_id: 0 };
        let params = json!({
            "protocolVersion": Version::LATEST.as_str(),
            "capabilities": {},
            "clientInfo": {"name": "mooring", "version": env!("CARGO_PKG_VERSION")},
        });
        let result = client.request("initialize", params).await?;
        client.version = result["protocolVersion"].as_str().and_then(|v| v.parse().ok());
        client.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await?;
        Ok(client)
    }

    /// The result of a request.
    pub async fn request(&mut self, method: &str, params: Value) -> Result<Value, String> {
        self.last_id += 1;
        let id = self.last_id;
        let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let response = self.send(&message).await?;
        if let Some(session) = response.headers().get(&headers::SESSION) {
            let mut session = session.clone();
            session.set_sensitive(true);
            self.session = Some(session);
        }
        let mut answer = self.answer(id, response).await?;
        match answer.get_mut("result") {
            Some(result) => Ok(result.take()),
            None => Err(refusal(&answer["error"])),
        }
    }

    /// All entries of a list, such as the `tools` of `tools/list`.
    pub async fn list(&mut self, method: &str, member: &str) -> Result<Vec<Value>, String> {
        let (mut entries, mut params) = (Vec::new(), json!({}));
        for _ in 0..MAX_PAGES {
            let mut page = self.request(method, params).await?;
            if let Some(found) = page[member].as_array_mut() {
                entries.append(found);
            }
            match page["nextCursor"].as_str() {
                Some(next) => params = json!({"cursor": next}),
                None => break,
            }
        }
        Ok(entries)
    }

    /// Ends the session. Nobody is left to be told of a failure.
    pub async fn close(self) {
        let _ = self.gateway.send(Method::DELETE, &self.path, None, self.headers()).await;
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(ACCEPT));
        let own = [(headers::SESSION, &self.session), (headers::PROTOCOL_VERSION, &self.version)];
        for (name, value) in own {
            if let Some(value) = value {
                headers.insert(name, value.clone());
            }
        }
        headers
    }

    async fn send(&self, message: &Value) -> Result<Response<Body>, String> {
        let text = message.to_string();
        self.gateway.send(Method::POST, &self.path, Some(&text), self.headers()).await
    }

    /// The answer to a request, out of a body of JSON or an event stream.
    async fn answer(&self, id: u64, response: Response<Body>) -> Result<Value, String> {
        let kind = response.headers().get(header::CONTENT_TYPE);
        let is_stream = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        if !is_stream {
            let body =
                collect(response.into_body(), MAX_ANSWER).await.map_err(|e| e.to_string())?;
            return serde_json::from_slice(&body)
                .map_err(|error| format!("the answer is not JSON: {error}"));
        }
        let mut events = EventReader::new(response.into_body(), MAX_ANSWER);
        loop {
            let event = match events.next().await {
                Some(Read::Event(event)) => event,
                Some(Read::Comment) => continue,
                Some(Read::Broken(error)) => return Err(format!("the stream broke: {error}")),
                None => return Err("the stream ended before the answer".to_owned()),
            };
            let Ok(message) = serde_json::from_slice::<Value>(&event.data) else { continue };
            match (message.get("method"), message.get("id")) {
                (None, Some(of)) if *of == id => return Ok(message),
                (Some(method), Some(of)) => self.reply(method, of).await?,
                _ => {}
            }
        }
    }

    /// Answers a request of the server. This client has no capability that one could be for.
    async fn reply(&self, method: &Value, id: &Value) -> Result<(), String> {
        let answer = match method.as_str() {
            Some("ping") => json!({"jsonrpc": "2.0", "id": id, "result": {}}),
            _ => {
                let error = json!({"code": code::METHOD_NOT_FOUND, "message": "not supported"});
                json!({"jsonrpc": "2.0", "id": id, "error": error})
            }
        };
        self.send(&answer).await.map(drop)
    }
}

/// A JSON-RPC error for people.
fn refusal(error: &Value) -> String {
    let message = error["message"].as_str().unwrap_or("the answer has neither result nor error");
    match error["code"].as_i64() {
        Some(code) => format!("{message} (error {code})"),
        None => message.to_owned(),
    }
}
