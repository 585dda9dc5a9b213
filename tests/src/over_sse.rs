//! An MCP client over HTTP+SSE, the transport of 2024-11-05.

use std::collections::VecDeque;
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::http::{Incoming, Request, Response};
use crate::mcp::{REVISION, request};
use crate::sse::Event;

/// A session, by its open stream; dropping it closes the stream.
pub struct OverSse {
    pub stream: Incoming,
    /// The address that the client posts to.
    pub endpoint: String,
    /// The last id among the events; with this the client comes back.
    pub last_event_id: String,
    address: SocketAddr,
    path: String,
    headers: Vec<(String, String)>,
    next: u64,
    /// Messages that arrived during a wait for another one.
    passed: VecDeque<Value>,
}

impl OverSse {
    /// Opens a stream and reads the endpoint's address from it.
    #[must_use]
    #[track_caller]
    pub fn open(address: SocketAddr, path: &str) -> Self {
        Self::open_with(address, path, &[])
    }

    /// Like `open`, with headers for every request of the client.
    #[must_use]
    #[track_caller]
    pub fn open_with(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Self {
        let headers: Vec<(String, String)> =
            headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let asked = Request::get(path).header("Accept", "text/event-stream").headers(&headers);
        let mut stream = asked.open(address);
        assert_eq!(stream.status, 200, "GET {path}");
        let Event { kind, data: endpoint, id, .. } = stream.event();
        assert_eq!(kind.as_deref(), Some("endpoint"));
        let last_event_id = id.expect("an id to come back with");
        let (path, passed) = (path.to_owned(), VecDeque::new());
        Self { stream, endpoint, last_event_id, address, path, headers, next: 1, passed }
    }

    /// Opens the stream again, as clients do by themselves when it breaks off.
    #[track_caller]
    pub fn come_back(&mut self) {
        let last = self.last_event_id.clone();
        self.come_back_with(&[("Last-Event-ID", &last)]);
    }

    /// The same at another gateway, to which a balancer leads the client now.
    #[track_caller]
    pub fn come_back_at(&mut self, address: SocketAddr) {
        self.address = address;
        self.come_back();
    }

    /// The same, with these headers on the GET.
    #[track_caller]
    pub fn come_back_with(&mut self, headers: &[(&str, &str)]) {
        let own = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let all: Vec<_> = own.chain(headers.iter().copied()).collect();
        let back = Self::open_with(self.address, &self.path, &all);
        self.stream = back.stream;
        self.endpoint = back.endpoint;
        self.last_event_id = back.last_event_id;
    }

    /// A session with `notifications/initialized` sent.
    #[must_use]
    #[track_caller]
    pub fn initialize(address: SocketAddr, path: &str) -> Self {
        let mut session = Self::open(address, path);
        session.begin();
        session
    }

    /// Initializes the session and returns the `InitializeResult`.
    #[track_caller]
    pub fn begin(&mut self) -> Value {
        self.begin_with(json!({
            "protocolVersion": REVISION,
            "capabilities": {},
            "clientInfo": {"name": "mooring-tests", "version": "1"},
        }))
    }

    /// The same, with other parameters of `initialize`.
    #[track_caller]
    pub fn begin_with(&mut self, params: Value) -> Value {
        let result = self.request("initialize", params);
        self.notify("notifications/initialized", json!({}));
        result
    }

    /// A POST to the session's endpoint.
    #[must_use]
    pub fn post(&self, message: &Value) -> Request {
        Request::post(&self.endpoint).headers(&self.headers).json(message)
    }

    /// Posts a message over a new connection.
    #[must_use]
    pub fn try_send(&self, message: &Value) -> Response {
        self.post(message).send(self.address)
    }

    #[track_caller]
    pub fn send(&self, message: &Value) {
        assert_eq!(self.try_send(message).expect(202).text(), "Accepted");
    }

    #[track_caller]
    pub fn notify(&self, method: &str, params: Value) {
        self.send(&json!({"jsonrpc": "2.0", "method": method, "params": params}));
    }

    /// Posts a request and returns its id.
    #[track_caller]
    pub fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = json!(self.next);
        self.next += 1;
        self.send(&request(id.clone(), method, params));
        id
    }

    /// Waits for the answer to a request.
    #[track_caller]
    pub fn answer_to(&mut self, id: &Value) -> Value {
        self.wait_for(|message| message["id"] == *id && message.get("method").is_none())
    }

    #[track_caller]
    pub fn answer(&mut self, method: &str, params: Value) -> Value {
        let id = self.ask(method, params);
        self.answer_to(&id)
    }

    /// The result of a request that must succeed.
    #[track_caller]
    pub fn request(&mut self, method: &str, params: Value) -> Value {
        let answer = self.answer(method, params);
        assert!(answer.get("result").is_some(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// The structured result of a tool call that must succeed.
    #[track_caller]
    pub fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let result = self.request("tools/call", json!({"name": tool, "arguments": arguments}));
        assert_ne!(result["isError"], true, "{tool}: {result}");
        result["structuredContent"].clone()
    }

    /// The id of the server's process.
    #[track_caller]
    pub fn pid(&mut self, whoami: &str) -> u32 {
        let pid = self.call(whoami, json!({}))["pid"].as_u64();
        pid.and_then(|pid| pid.try_into().ok()).expect("a pid")
    }

    /// Waits for the first message that the predicate accepts, past ones included; keeps the
    /// others.
    #[track_caller]
    pub fn wait_for(&mut self, is_meant: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.passed.iter().position(&is_meant) {
            return self.passed.remove(at).expect("it is there");
        }
        loop {
            let event = self.stream.event();
            assert_eq!(event.kind.as_deref(), Some("message"));
            if let Some(id) = event.id.clone() {
                self.last_event_id = id;
            }
            let message = event.json();
            if is_meant(&message) {
                return message;
            }
            self.passed.push_back(message);
        }
    }
}
