//! The example servers as a gateway uses them: as processes that read and write lines.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

const COUNTER: &str = env!("CARGO_BIN_EXE_mooring-example-counter");
const NOTES: &str = env!("CARGO_BIN_EXE_mooring-example-notes");
const CLOCK: &str = env!("CARGO_BIN_EXE_mooring-example-clock");

#[test]
fn it_echoes_a_version_it_knows_and_offers_the_latest_for_one_it_does_not() {
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        assert_eq!(Server::start(COUNTER, &[]).initialize(version), version);
    }
    let negotiated = Server::start(COUNTER, &[]).initialize("2026-07-28");
    assert_eq!(negotiated, "2025-11-25");
}

#[test]
fn the_label_is_the_title_of_the_server() {
    let mut server = Server::start(CLOCK, &[("MOORING_EXAMPLE_LABEL", "Clock on node 1")]);
    let reply = server.request("initialize", json!({"protocolVersion": "2025-11-25"}));
    assert_eq!(reply["result"]["serverInfo"]["title"], "Clock on node 1");
}

#[test]
fn a_process_serves_one_session() {
    let mut server = Server::start(COUNTER, &[]);
    assert_eq!(error_code(&server.request("tools/list", json!({}))), -32600);
    server.initialize("2025-11-25");
    let again = server.request("initialize", json!({"protocolVersion": "2025-11-25"}));
    assert_eq!(error_code(&again), -32600);
}

#[test]
fn the_counter_counts_for_its_own_process() {
    let mut ours = Server::open(COUNTER);
    let mut theirs = Server::open(COUNTER);
    assert_eq!(ours.call("count", json!({}))["value"], 1);
    assert_eq!(ours.call("count", json!({"by": 41}))["value"], 42);
    assert_eq!(theirs.call("count", json!({}))["value"], 1);
    assert_eq!(ours.call("whoami", json!({}))["pid"], ours.process.id());
    assert_eq!(ours.call("reset", json!({}))["value"], 0);
}

#[test]
fn whoami_gives_the_name_from_the_environment() {
    let mut server = Server::start(COUNTER, &[("MOORING_EXAMPLE_NAME", "node-1")]);
    server.initialize("2025-11-25");
    assert_eq!(server.call("whoami", json!({}))["name"], "node-1");
}

#[test]
fn a_wrong_argument_is_told_to_the_model_and_a_wrong_name_to_the_program() {
    let mut server = Server::open(COUNTER);
    let call = json!({"name": "count", "arguments": {"by": "two"}});
    assert_eq!(server.request("tools/call", call)["result"]["isError"], true);
    let call = json!({"name": "uncount"});
    assert_eq!(error_code(&server.request("tools/call", call)), -32602);
    assert_eq!(error_code(&server.request("tools/uncall", json!({}))), -32601);
}

#[test]
fn a_line_that_is_not_json_gets_an_error_and_the_next_an_answer() {
    let mut server = Server::open(COUNTER);
    server.send_line("{");
    assert_eq!(error_code(&server.receive()), -32700);
    assert_eq!(server.call("count", json!({}))["value"], 1);
}

#[test]
fn a_list_comes_in_pages_if_asked() {
    let mut server = Server::start(COUNTER, &[("MOORING_EXAMPLE_PAGE", "2")]);
    server.initialize("2025-11-25");
    let first = server.request("tools/list", json!({}));
    assert_eq!(first["result"]["tools"].as_array().map(Vec::len), Some(2));
    let cursor = &first["result"]["nextCursor"];
    let last = server.request("tools/list", json!({ "cursor": cursor }));
    assert_eq!(last["result"]["tools"][0]["name"], "reset");
    assert!(last["result"].get("nextCursor").is_none());
    let none = server.request("tools/list", json!({"cursor": "7"}));
    assert_eq!(error_code(&none), -32602);
}

#[test]
fn a_note_is_announced_listed_and_read() {
    let mut server = Server::open(NOTES);
    server.send("tools/call", json!({"name": "add_note", "arguments": {"text": "buy rope"}}));
    let announced = server.receive();
    assert_eq!(announced["method"], "notifications/resources/list_changed");
    assert_eq!(structured(&server.receive())["uri"], "note://1");

    let listed = server.request("resources/list", json!({}));
    assert_eq!(listed["result"]["resources"][0]["uri"], "note://1");
    let read = server.request("resources/read", json!({"uri": "note://1"}));
    assert_eq!(read["result"]["contents"][0]["text"], "buy rope");
    let unknown = server.request("resources/read", json!({"uri": "note://2"}));
    assert_eq!(error_code(&unknown), -32002);

    let prompt = server.request("prompts/get", json!({"name": "summarize"}));
    let text = prompt["result"]["messages"][0]["content"]["text"].as_str();
    assert!(text.is_some_and(|text| text.contains("buy rope")));
}

#[test]
fn a_sleeping_call_keeps_nobody_waiting() {
    let mut server = Server::open(CLOCK);
    server.send("tools/call", json!({"name": "sleep", "arguments": {"ms": 3_600_000}}));
    assert!(server.call("now", json!({}))["unix_ms"].is_u64());
}

#[test]
fn a_cancelled_call_is_not_answered() {
    let mut server = Server::open(CLOCK);
    let id = server.send("tools/call", json!({"name": "sleep", "arguments": {"ms": 3_600_000}}));
    let cancelled = json!({
        "jsonrpc": "2.0",
        "method": "notifications/cancelled",
        "params": {"requestId": id},
    });
    server.send_line(&cancelled.to_string());
    while server.call("now", json!({}))["waiting"] != 0 {}
    assert_eq!(server.rest(), Vec::<Value>::new());
}

#[test]
fn every_step_is_reported_under_the_token_of_the_call() {
    let mut server = Server::open(CLOCK);
    let call = json!({
        "name": "wait_with_progress",
        "arguments": {"steps": 2, "ms": 1},
        "_meta": {"progressToken": 0},
    });
    server.send("tools/call", call);
    for step in 1..=2 {
        let progress = server.receive();
        assert_eq!(progress["method"], "notifications/progress");
        assert_eq!(progress["params"], json!({"progressToken": 0, "progress": step, "total": 2}));
    }
    assert_eq!(structured(&server.receive())["steps"], 2);
}

#[test]
fn the_end_of_input_ends_the_process_and_its_calls() {
    let mut server = Server::open(CLOCK);
    server.send("tools/call", json!({"name": "sleep", "arguments": {"ms": 3_600_000}}));
    assert_eq!(server.rest(), Vec::<Value>::new());
    assert!(server.process.wait().is_ok_and(|status| status.success()));
}

/// A server process and the next request id.
struct Server {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    last_id: u64,
}

impl Server {
    fn start(binary: &str, env: &[(&str, &str)]) -> Self {
        let mut process = Command::new(binary)
            .envs(env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            input: process.stdin.take(),
            output: BufReader::new(process.stdout.take().unwrap()),
            process,
            last_id: 0,
        }
    }

    fn open(binary: &str) -> Self {
        let mut server = Self::start(binary, &[]);
        server.initialize("2025-11-25");
        server
    }

    fn initialize(&mut self, version: &str) -> String {
        let params = json!({
            "protocolVersion": version,
            "capabilities": {},
            "clientInfo": {"name": "stdio", "version": "0"},
        });
        let reply = self.request("initialize", params);
        self.send_line(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        let negotiated = reply["result"]["protocolVersion"].as_str();
        negotiated.unwrap().to_owned()
    }

    fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let params = json!({"name": tool, "arguments": arguments});
        structured(&self.request("tools/call", params))
    }

    fn request(&mut self, method: &str, params: Value) -> Value {
        let id = self.send(method, params);
        let reply = self.receive();
        assert_eq!(reply["id"], id, "{reply}");
        reply
    }

    fn send(&mut self, method: &str, params: Value) -> u64 {
        self.last_id += 1;
        let id = self.last_id;
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.send_line(&request.to_string());
        id
    }

    fn send_line(&mut self, line: &str) {
        let input = self.input.as_mut().unwrap();
        writeln!(input, "{line}").unwrap();
    }

    fn receive(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// Closes the input and reads the rest of the output.
    fn rest(&mut self) -> Vec<Value> {
        self.input = None;
        let lines = self.output.by_ref().lines();
        lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.process.wait();
    }
}

fn structured(reply: &Value) -> Value {
    reply["result"]["structuredContent"].clone()
}

fn error_code(reply: &Value) -> i64 {
    reply["error"]["code"].as_i64().unwrap_or_default()
}
