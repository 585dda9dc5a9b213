//! `mooring connect`: a host that only speaks stdio uses a gateway behind a URL.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use mooring_tests::running::Running;
use mooring_tests::scripted::{Asked, Out, said};
use mooring_tests::{
    Certificate, Gateway, Scripted, Setup, binaries, eventually, servers, settings,
};
use serde_json::{Value, json};

pub fn command(words: &[&str]) -> Command {
    let mut command = Command::new(binaries::mooring());
    command.arg("connect").args(words).env_remove("MOORING_KEY");
    command
}

/// A host with its session begun.
pub struct Host {
    pub bridge: Running,
    last_id: u64,
}

impl Host {
    #[track_caller]
    pub fn start(words: &[&str]) -> Self {
        Self::of(&mut command(words))
    }

    #[track_caller]
    pub fn of(command: &mut Command) -> Self {
        let mut host = Self { bridge: Running::start(command), last_id: 0 };
        let answer = host.ask("initialize", initialize());
        assert!(answer["result"]["protocolVersion"].is_string(), "{answer}");
        host.bridge.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        host
    }

    pub fn send(&mut self, method: &str, params: Value) -> Value {
        self.last_id += 1;
        let id = json!(self.last_id);
        self.bridge.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        id
    }

    /// The next message that is meant; others are passed over.
    #[track_caller]
    pub fn message(&mut self, is_meant: impl Fn(&Value) -> bool) -> Value {
        loop {
            let message = self.bridge.json();
            if is_meant(&message) {
                return message;
            }
        }
    }

    #[track_caller]
    pub fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.send(method, params);
        self.message(|message| message["id"] == id && message["method"].is_null())
    }

    #[track_caller]
    pub fn call(&mut self, tool: &str, arguments: Value) -> Value {
        self.ask("tools/call", json!({"name": tool, "arguments": arguments}))
    }

    #[track_caller]
    pub fn count(&mut self) -> i64 {
        let answer = self.call("counter-count", json!({}));
        let text = answer["result"]["content"][0]["text"].as_str();
        text.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{answer}"))
    }
}

pub fn initialize() -> Value {
    json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "host", "version": "0"}})
}

fn gateway() -> Gateway {
    let servers = json!({
        "counter": servers::counter(), "clock": servers::clock(), "notes": servers::notes(),
    });
    Gateway::start_with(&settings::standalone(servers))
}

#[test]
fn a_host_of_stdio_has_the_session_with_all_that_belongs_to_it() {
    let gateway = gateway();
    let mut host = Host::start(&[&gateway.url()]);
    let tools = host.ask("tools/list", json!({}));
    assert_eq!(tools["result"]["tools"].as_array().unwrap().len(), 3 + 3 + 2);
    assert_eq!([host.count(), host.count()], [1, 2], "one session");
    // Ids keep their type, calls overlap, and progress comes as it happens.
    host.bridge.send(&json!({"jsonrpc": "2.0", "id": "slow", "method": "tools/call", "params": {
        "name": "clock-wait_with_progress", "arguments": {"steps": 2, "ms": 300}, "_meta": {"progressToken": 7},
    }}));
    assert_eq!(host.count(), 3);
    let progress = host.message(|message| message["method"] == "notifications/progress");
    assert_eq!(progress["params"]["progressToken"], 7);
    host.message(|message| message["id"] == "slow" && message["result"].is_object());
    // What servers send outside of requests comes by the session's own stream.
    host.call("notes-add_note", json!({"text": "x"}));
    host.message(|message| message["method"] == "notifications/resources/list_changed");
    let unknown = host.ask("no/such", json!({}));
    assert_eq!(unknown["error"]["code"], -32601, "{unknown}");
}

#[test]
fn the_session_goes_on_when_the_gateway_is_started_again() {
    let mut gateway = gateway();
    let mut host = Host::start(&[&gateway.url()]);
    assert_eq!(host.count(), 1);
    gateway.kill9();
    // Asked while there is no gateway.
    let id = host.send("tools/call", json!({"name": "clock-now", "arguments": {}}));
    gateway.start();
    let answer = host.message(|message| message["id"] == id);
    assert!(answer["result"].is_object(), "{answer}");
    assert!(host.count() >= 1);
    // Its own stream is there again, too.
    host.call("notes-add_note", json!({"text": "x"}));
    host.message(|message| message["method"] == "notifications/resources/list_changed");
}

#[test]
fn a_session_that_the_gateway_does_not_know_any_more_is_begun_again() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let settings =
        settings::standalone(json!({"counter": servers::counter(), "notes": servers::notes()}));
    let port = mooring_tests::Port::reserve();
    let number = port.number();
    let mut gateway = Setup::new(&settings).port(port).data(first.path()).start();
    let errors = tempfile::NamedTempFile::new().unwrap();
    let url = format!("http://127.0.0.1:{number}/mcp");
    let mut command = command(&[&url]);
    let mut host = Host::of(command.stderr(errors.reopen().unwrap()));
    assert_eq!([host.count(), host.count()], [1, 2]);
    gateway.kill9();
    // Without the secret that sealed the id it is nobody's.
    for entry in std::fs::read_dir(first.path()).unwrap().flatten() {
        std::fs::rename(entry.path(), second.path().join(entry.file_name())).unwrap();
    }
    gateway.start();
    assert_eq!(host.count(), 1, "a new session");
    let said = std::fs::read_to_string(errors.path()).unwrap();
    assert!(said.contains("was begun again"), "{said}");
    host.call("notes-add_note", json!({"text": "x"}));
    host.message(|message| message["method"] == "notifications/resources/list_changed");
}

#[test]
fn the_first_message_waits_for_a_gateway_that_starts_and_not_for_ever() {
    let mut gateway =
        Setup::new(&settings::standalone(json!({"counter": servers::counter()}))).prepare();
    let url = gateway.url();
    let starting = std::thread::spawn(move || Host::start(&[&url]));
    gateway.start();
    assert_eq!(starting.join().unwrap().count(), 1);

    let nobody = mooring_tests::Port::reserve();
    let url = format!("http://{}", nobody.address());
    let mut bridge = Running::start(&mut command(&[&url, "--wait", "0"]));
    bridge
        .send(&json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": initialize()}));
    let answer = bridge.json();
    assert_eq!(answer["error"]["code"], -31002, "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("has not run"), "{answer}");
}

#[test]
fn keys_come_from_the_environment_a_file_or_the_command_line() {
    const KEY: &str = "a-long-random-key-of-this-test";
    let settings = settings::merged(
        settings::standalone(json!({"counter": servers::counter()})),
        json!({"systemConfig": {"routing": {"enableBearerAuth": true, "bearerAuthKey": KEY}}}),
    );
    let gateway = Gateway::start_with(&settings);
    let url = gateway.url();
    let mut bridge = Running::start(&mut command(&[&url]));
    bridge
        .send(&json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": initialize()}));
    let answer = bridge.json();
    assert!(answer["error"]["message"].as_str().unwrap().contains("MOORING_KEY"), "{answer}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{KEY}\n")).unwrap();
    let header = format!("Authorization: Bearer {KEY}");
    for (words, variable) in [
        (vec![url.as_str()], Some(("MOORING_KEY", KEY))),
        (vec![url.as_str()], Some(("MOORING_KEY_FILE", file.path().to_str().unwrap()))),
        (vec![url.as_str(), "--key", KEY], None),
        (vec![url.as_str(), "--header", &header], None),
    ] {
        let mut command = command(&words);
        command.envs(variable);
        assert_eq!(Host::of(&mut command).count(), 1, "{words:?}");
    }
}

#[test]
fn it_speaks_tls_with_the_authorities_of_the_machine() {
    let certificate = Certificate::of(&["localhost"]);
    let settings = settings::merged(
        settings::standalone(json!({"counter": servers::counter()})),
        json!({"systemConfig": {"listen": {"tls": {"cert": certificate.cert, "key": certificate.key}}}}),
    );
    let gateway = Gateway::start_with(&settings);
    let url = format!("https://localhost:{}/mcp/counter", gateway.port());
    let mut trusting = command(&[&url, "--wait", "5"]);
    let mut host = Host::of(trusting.env("SSL_CERT_FILE", &certificate.cert));
    let tools = host.ask("tools/list", json!({}));
    assert_eq!(tools["result"]["tools"].as_array().unwrap().len(), 3);
    let mut bridge = Running::start(&mut command(&[&url, "--wait", "0"]));
    bridge
        .send(&json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": initialize()}));
    let answer = bridge.json();
    assert!(answer["error"]["message"].as_str().unwrap().contains("certificate"), "{answer}");
}

#[test]
fn the_session_ends_with_the_host_and_what_was_asked_is_answered_before() {
    let gateway = gateway();
    let mut child =
        command(&[&gateway.url()]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    for message in [
        json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": initialize()}),
        json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
        json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "clock-sleep", "arguments": {"ms": 500}}}),
    ] {
        use std::io::Write as _;
        writeln!(input, "{message}").unwrap();
    }
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let lines: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(lines.iter().any(|line| line["id"] == 2 && line["result"].is_object()), "{lines:?}");
    eventually("the gateway has no session left", || {
        let metrics = gateway.get("/metrics").text();
        metrics.lines().any(|line| line == "mooring_sessions_ended_total 1").then_some(())
    });
}

/// A gateway of another make, whose streams break.
fn breaking(with_ids: bool) -> (Scripted, std::sync::Arc<AtomicUsize>) {
    let resumed = std::sync::Arc::new(AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&resumed);
    let script = move |asked: &Asked, out: Out| {
        if asked.rpc() == "tools/call" {
            let mut out = out.events();
            let id =
                |id: &str| if with_ids { format!("id: {id}\nretry: 10\n") } else { String::new() };
            out.write(format!("{}data:\n\n", id("a-0")).as_bytes());
            out.write(
                format!("{}data: {{\"jsonrpc\":\"2.0\",\"method\":\"first\"}}\n\n", id("a-1"))
                    .as_bytes(),
            );
            return None;
        }
        if asked.method == "GET" {
            return match asked.header("last-event-id") {
                None => Some(out),
                // Once more without anything new, then the rest.
                Some("a-1") if count.fetch_add(1, Ordering::SeqCst) == 0 => {
                    out.events().write(b": nothing\n\n");
                    None
                }
                Some("a-1") => {
                    let answer = json!({"jsonrpc": "2.0", "id": 2, "result": said("the rest")});
                    out.events().write(format!("id: a-2\ndata: {answer}\n\n").as_bytes());
                    None
                }
                Some(other) => panic!("{other}"),
            };
        }
        Some(out)
    };
    (Scripted::start(script), resumed)
}

#[test]
fn a_stream_that_breaks_is_resumed_where_it_was() {
    let (upstream, resumed) = breaking(true);
    let mut host = Host::start(&[&upstream.url("/mcp")]);
    let id = host.send("tools/call", json!({"name": "ask", "arguments": {}}));
    host.message(|message| message["method"] == "first");
    // Nothing twice, and nothing left out.
    let next = host.bridge.json();
    assert_eq!((&next["id"], &next["result"]), (&id, &said("the rest")), "{next}");
    assert_eq!(resumed.load(Ordering::SeqCst), 2);
    let calls = upstream.all().iter().filter(|asked| asked.rpc() == "tools/call").count();
    assert_eq!(calls, 1, "the call runs once");
}

#[test]
fn a_call_whose_stream_cannot_be_resumed_may_have_run() {
    let (upstream, _) = breaking(false);
    let mut host = Host::start(&[&upstream.url("/mcp")]);
    let answer = host.call("ask", json!({}));
    assert_eq!(answer["error"]["code"], -31001, "{answer}");
    let calls = upstream.all().iter().filter(|asked| asked.rpc() == "tools/call").count();
    assert_eq!(calls, 1, "it is not repeated");
}

#[test]
fn what_cannot_be_connected_to_is_said_at_once() {
    for words in [
        &["localhost:3000"][..],
        &["ftp://x"],
        &["http://x:99999/mcp"],
        &["http://user:password@x/mcp"],
        &["http://x", "--header", "no-colon"],
        &["http://x", "--wait", "soon"],
    ] {
        let output = command(words).stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
