//! An MCP client of the revisions with sessions, over Streamable HTTP.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::http::{Incoming, Request, Response};

pub const REVISION: &str = "2025-11-25";
const BOTH: &str = "application/json, text/event-stream";

/// A client before it has a session.
#[derive(Debug, Clone)]
pub struct Client {
    address: SocketAddr,
    path: String,
    headers: Vec<(String, String)>,
    params: Value,
    source: Option<IpAddr>,
}

impl Client {
    #[must_use]
    pub fn new(address: SocketAddr, path: &str) -> Self {
        Self {
            address,
            path: path.to_owned(),
            headers: Vec::new(),
            source: None,
            params: json!({
                "protocolVersion": REVISION,
                "capabilities": {},
                "clientInfo": {"name": "mooring-tests", "version": "1"},
            }),
        }
    }

    /// Adds a header to every request of the client and of its session.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn revision(mut self, revision: &str) -> Self {
        self.params["protocolVersion"] = revision.into();
        self
    }

    /// Sets other parameters of `initialize`.
    #[must_use]
    pub fn params(mut self, params: Value) -> Self {
        self.params = params;
        self
    }

    /// A client at another address of this machine.
    #[must_use]
    pub fn at(mut self, source: &str) -> Self {
        self.source = Some(source.parse().expect("an address"));
        self
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A POST to the client's scope with the headers that the protocol requires.
    #[must_use]
    pub fn post(&self) -> Request {
        Request::post(&self.path)
            .header("Content-Type", "application/json")
            .header("Accept", BOTH)
            .headers(&self.headers)
            .from(self.source)
    }

    #[must_use]
    pub fn initialize_request(&self) -> Request {
        self.post().json(&request(json!(0), "initialize", self.params.clone()))
    }

    /// Sends `initialize` and returns the response, whatever it is.
    #[must_use]
    pub fn try_initialize(&self) -> Response {
        self.initialize_request().send(self.address)
    }

    /// A session, with `notifications/initialized` sent.
    #[must_use]
    #[track_caller]
    pub fn initialize(&self) -> Session {
        let response = self.try_initialize().expect(200);
        let id = response.header("mcp-session-id").expect("a session id").to_owned();
        let answer = answer_to(&response, &json!(0));
        assert!(answer["result"].is_object(), "initialize: {answer}");
        let session = Session {
            client: self.clone(),
            id,
            result: answer["result"].clone(),
            response,
            next: AtomicU64::new(1),
        };
        session.notify("notifications/initialized", json!({})).expect(202);
        session
    }
}

/// A session, by its id.
#[derive(Debug)]
pub struct Session {
    pub client: Client,
    pub id: String,
    /// The `InitializeResult`.
    pub result: Value,
    /// The response that brought it; empty for a resumed session.
    pub response: Response,
    next: AtomicU64,
}

impl Session {
    /// The same session, used from another connection or another process of the client.
    #[must_use]
    pub fn resumed(client: &Client, id: &str) -> Self {
        Self {
            client: client.clone(),
            id: id.to_owned(),
            result: Value::Null,
            response: Response::default(),
            next: 1.into(),
        }
    }

    /// A POST of this session with the headers that the protocol requires.
    #[must_use]
    pub fn with(&self, request: Request) -> Request {
        let revision = self.result["protocolVersion"].as_str().unwrap_or(REVISION);
        request.header("Mcp-Session-Id", &self.id).header("MCP-Protocol-Version", revision)
    }

    #[must_use]
    pub fn post(&self, message: &Value) -> Request {
        self.with(self.client.post()).json(message)
    }

    /// The next JSON-RPC request, and its id.
    #[must_use]
    pub fn message(&self, method: &str, params: Value) -> (Value, Value) {
        let id = json!(self.next.fetch_add(1, Ordering::Relaxed));
        (request(id.clone(), method, params), id)
    }

    /// The response to a request, whatever it is.
    #[must_use]
    pub fn try_request(&self, method: &str, params: Value) -> Response {
        let (message, _) = self.message(method, params);
        self.post(&message).send(self.client.address)
    }

    /// The JSON-RPC answer to a request: it has `result` or `error`.
    #[must_use]
    #[track_caller]
    pub fn answer(&self, method: &str, params: Value) -> Value {
        let (message, id) = self.message(method, params);
        let response = self.post(&message).send(self.client.address).expect(200);
        answer_to(&response, &id)
    }

    /// The result of a request that must succeed.
    #[track_caller]
    pub fn request(&self, method: &str, params: Value) -> Value {
        let answer = self.answer(method, params);
        assert!(answer.get("result").is_some(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// The result of a tool call that must succeed.
    #[track_caller]
    pub fn call(&self, tool: &str, arguments: Value) -> Value {
        let result = self.request("tools/call", json!({"name": tool, "arguments": arguments}));
        assert_ne!(result["isError"], true, "{tool}: {result}");
        result
    }

    /// Increments and returns the session's count.
    #[track_caller]
    pub fn count(&self, tool: &str) -> i64 {
        let result = self.call(tool, json!({}));
        let value = result["structuredContent"]["value"].as_i64();
        value.unwrap_or_else(|| panic!("no count: {result}"))
    }

    /// The result of `whoami`: the server's process id, and its name if it has one.
    #[track_caller]
    pub fn whoami(&self, tool: &str) -> Whoami {
        let result = self.call(tool, json!({}));
        let content = &result["structuredContent"];
        let pid = content["pid"].as_u64().and_then(|pid| pid.try_into().ok());
        let name = content["name"].as_str().unwrap_or("").to_owned();
        Whoami { pid: pid.unwrap_or_else(|| panic!("no pid: {result}")), name }
    }

    /// Every tool's name, over all pages.
    #[must_use]
    #[track_caller]
    pub fn tools(&self) -> Vec<String> {
        self.list("tools", "name")
    }

    /// `key` of every entry of a list, over all pages.
    #[must_use]
    #[track_caller]
    pub fn list(&self, kind: &str, key: &str) -> Vec<String> {
        let mut all = Vec::new();
        let mut params = json!({});
        loop {
            let page = self.request(&format!("{kind}/list"), params);
            let entries = page[kind].as_array().unwrap_or_else(|| panic!("no {kind}: {page}"));
            all.extend(entries.iter().map(|entry| entry[key].as_str().unwrap_or("").to_owned()));
            match page.get("nextCursor") {
                Some(cursor) => params = json!({"cursor": cursor}),
                None => return all,
            }
        }
    }

    pub fn notify(&self, method: &str, params: Value) -> Response {
        let message = json!({"jsonrpc": "2.0", "method": method, "params": params});
        self.post(&message).send(self.client.address)
    }

    /// Opens the session's GET stream.
    #[must_use]
    pub fn listen(&self) -> Incoming {
        self.get().open(self.client.address)
    }

    /// The same, if there is room for it.
    #[must_use]
    pub fn try_listen(&self) -> Option<Incoming> {
        self.get().try_open(self.client.address).ok().filter(|stream| stream.status == 200)
    }

    /// Resumes a stream after this event.
    #[must_use]
    pub fn resume(&self, last_event_id: &str) -> Incoming {
        self.get().header("Last-Event-ID", last_event_id).open(self.client.address)
    }

    fn get(&self) -> Request {
        let request = Request::get(&self.client.path)
            .header("Accept", "text/event-stream")
            .headers(&self.client.headers)
            .from(self.client.source);
        self.with(request)
    }

    /// Starts a tool call; returns its response, to be read as it arrives, and its id.
    #[must_use]
    pub fn start(&self, tool: &str, arguments: Value, meta: Value) -> (Incoming, Value) {
        let params = json!({"name": tool, "arguments": arguments, "_meta": meta});
        let (message, id) = self.message("tools/call", params);
        (self.post(&message).open(self.client.address), id)
    }

    /// Answers a request of the server.
    #[track_caller]
    pub fn reply(&self, id: &Value, result: Value) {
        let message = json!({"jsonrpc": "2.0", "id": id, "result": result});
        self.post(&message).send(self.client.address).expect(202);
    }

    pub fn delete(&self) -> Response {
        let request = Request::delete(&self.client.path)
            .headers(&self.client.headers)
            .from(self.client.source);
        self.with(request).send(self.client.address)
    }
}

/// The process that has answered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Whoami {
    pub pid: u32,
    pub name: String,
}

#[must_use]
pub fn request(id: Value, method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

#[track_caller]
fn answer_to(response: &Response, id: &Value) -> Value {
    let messages = response.messages();
    let answer =
        messages.iter().find(|message| message["id"] == *id && message.get("method").is_none());
    answer.unwrap_or_else(|| panic!("no answer to {id}: {messages:?}")).clone()
}
