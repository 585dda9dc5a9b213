//! An MCP client of the revision without sessions: each request says what others say once.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::http::{Incoming, Request, Response};

pub const STATELESS: &str = "2026-07-28";
const BOTH: &str = "application/json, text/event-stream";

/// A client that has no session.
#[derive(Debug)]
pub struct Stateless {
    address: SocketAddr,
    path: String,
    headers: Vec<(String, String)>,
    /// What `params._meta` of each request has.
    pub meta: Value,
    next: AtomicU64,
}

impl Stateless {
    #[must_use]
    pub fn new(address: SocketAddr, path: &str) -> Self {
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": STATELESS,
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": {"name": "mooring-tests", "version": "1"},
        });
        let (path, headers) = (path.to_owned(), Vec::new());
        Self { address, path, headers, meta, next: AtomicU64::new(1) }
    }

    /// The gateway that it asks.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Adds a header to every request.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Declares capabilities.
    #[must_use]
    pub fn able(mut self, capabilities: Value) -> Self {
        self.meta["io.modelcontextprotocol/clientCapabilities"] = capabilities;
        self
    }

    /// Another client like this one, with other capabilities.
    #[must_use]
    pub fn clone_with(&self, capabilities: Value) -> Self {
        let Self { address, path, headers, meta, .. } = self;
        let (path, headers, meta) = (path.clone(), headers.clone(), meta.clone());
        Self { address: *address, path, headers, meta, next: AtomicU64::new(1) }.able(capabilities)
    }

    /// Adds a member to the `_meta` of every request.
    #[must_use]
    pub fn meta(mut self, name: &str, value: Value) -> Self {
        self.meta[name] = value;
        self
    }

    /// Goes on with the conversation of this name.
    #[must_use]
    pub fn conversation(self, name: &str) -> Self {
        self.meta("mooring/conversation", name.into())
    }

    /// Begins a conversation, and goes on with it.
    #[must_use]
    #[track_caller]
    pub fn conversation_of_its_own(self) -> Self {
        let name = self.new_conversation();
        self.conversation(&name)
    }

    /// Goes on at another gateway, or at the same one after a restart.
    #[must_use]
    pub fn at(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    /// A request with the headers that the revision requires, and its id.
    #[must_use]
    pub fn request(&self, method: &str, mut params: Value) -> (Request, Value) {
        let id = json!(self.next.fetch_add(1, Ordering::Relaxed));
        let mut meta = self.meta.clone();
        if let Some(more) = params["_meta"].as_object() {
            for (name, value) in more {
                meta[name] = value.clone();
            }
        }
        params["_meta"] = meta;
        let request = Request::post(&self.path)
            .header("Content-Type", "application/json")
            .header("Accept", BOTH)
            .header("MCP-Protocol-Version", STATELESS)
            .header("Mcp-Method", method)
            .headers(&self.headers);
        let named = ["name", "uri", "taskId"].into_iter().find_map(|name| params[name].as_str());
        let request = match named {
            Some(name) => request.header("Mcp-Name", name),
            None => request,
        };
        let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        (request.json(&message), id)
    }

    /// Sends a request, and returns the response, whatever it is.
    #[must_use]
    #[track_caller]
    pub fn send(&self, method: &str, params: Value) -> Response {
        self.request(method, params).0.send(self.address)
    }

    /// Sends a request, and returns the head of the response.
    #[must_use]
    #[track_caller]
    pub fn open(&self, method: &str, params: Value) -> (Incoming, Value) {
        let (request, id) = self.request(method, params);
        (request.open(self.address), id)
    }

    /// The answer to a request, result or error.
    #[must_use]
    #[track_caller]
    pub fn answer(&self, method: &str, params: Value) -> Value {
        let (request, id) = self.request(method, params);
        let response = request.send(self.address);
        let messages = response.messages();
        let answer = messages.iter().find(|message| message["id"] == id);
        answer.unwrap_or_else(|| panic!("{method}: {messages:?} for {id}")).clone()
    }

    /// The result of a request that succeeds.
    #[must_use]
    #[track_caller]
    pub fn result(&self, method: &str, params: Value) -> Value {
        let answer = self.answer(method, params);
        assert!(answer["result"].is_object(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// The result of a tool.
    #[must_use]
    #[track_caller]
    pub fn call(&self, tool: &str, arguments: Value) -> Value {
        self.result("tools/call", json!({"name": tool, "arguments": arguments}))
    }

    /// What the counter of an example server counts to.
    #[must_use]
    #[track_caller]
    pub fn count(&self, tool: &str) -> i64 {
        let result = self.call(tool, json!({}));
        let value = result["structuredContent"]["value"].as_i64();
        value.unwrap_or_else(|| panic!("no count: {result}"))
    }

    /// The process that answers, and its name if it has one.
    #[must_use]
    #[track_caller]
    pub fn whoami(&self, tool: &str) -> (u64, String) {
        let result = self.call(tool, json!({}));
        let said = &result["structuredContent"];
        let pid = said["pid"].as_u64().unwrap_or_else(|| panic!("no process: {result}"));
        (pid, said["name"].as_str().unwrap_or_default().to_owned())
    }

    /// The name of a new conversation.
    #[must_use]
    #[track_caller]
    pub fn new_conversation(&self) -> String {
        let result = self.result("server/discover", json!({}));
        let name = result["_meta"]["mooring/conversation"].as_str();
        name.unwrap_or_else(|| panic!("no conversation: {result}")).to_owned()
    }
}
