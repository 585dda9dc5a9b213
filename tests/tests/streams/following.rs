//! A stream moves when its session moves, though its node only fell silent: no lease has to run out.

use std::cell::RefCell;
use std::collections::BTreeSet;

use mooring_tests::http::Incoming;
use mooring_tests::orders::{announce, late, notification, tools};
use mooring_tests::{
    Cable, Canned, Cluster, Gateway, OverSse, Session, eventually, process, settings,
};
use serde_json::{Value, json};

/// No test may wait for that: a node is given up a day after its last heartbeat.
const NEVER: u64 = 24 * 3600 * 1000;

/// A coordinator, node `a` behind a cable, and node `b`, both with a server that says what it is told
/// to.
struct Cut {
    cluster: Cluster,
    cable: Cable,
    server: Canned,
}

impl Cut {
    fn new() -> Self {
        let server = Canned::new()
            .with_capabilities(json!({"tools": {}, "resources": {"subscribe": true}}))
            .answers("tools/list", tools())
            .answers("resources/list", json!({"resources": []}))
            .answers("resources/templates/list", json!({"resourceTemplates": []}));
        let system = json!({
            "groups": [{"name": "desk", "servers": ["log"]}],
            "systemConfig": {"cluster": {"coordinator": {"nodeTimeout": NEVER}}},
        });
        let coordinator = settings::merged(settings::coordinator(json!({})), system);
        let coordinator = Gateway::start_with(&coordinator);
        let cable = Cable::new();
        let node = |own: Value| {
            let servers = json!({"log": server.entry()});
            let node = settings::node(coordinator.port(), own, servers);
            Gateway::start_with(&settings::roomy(node))
        };
        // No heartbeat comes during the test, which would tell that the node is there.
        let a = node(json!({"id": "a", "advertiseUrl": cable.url(), "heartbeatInterval": NEVER}));
        cable.leads_to(a.address());
        let b = node(json!({"id": "b"}));
        let cluster = Cluster { coordinator, nodes: vec![a, b] };
        cluster.wait_for_active(2);
        Self { cluster, cable, server }
    }

    /// The node on which the server was told something last; `None` if that process is gone, as one
    /// that a node has only asked for its lists.
    fn last_node(&self) -> Option<usize> {
        let pid = self.server.told().last().expect("it was told something").0;
        let is_there = |node: &Gateway| process::descendants(node.pid()).contains(&pid);
        self.cluster.nodes.iter().position(is_there)
    }

    /// A session whose server is on the node behind the cable.
    fn session(&self, path: &str, tool: &str) -> Session {
        eventually("a session is at the node", || {
            let session = self.cluster.client(path).initialize();
            announce(&session, tool, &[]);
            (self.last_node() == Some(0)).then_some(session)
        })
    }
}

const SCOPES: [(&str, &str); 3] =
    [("/mcp/log", "announce"), ("/mcp", "log-announce"), ("/mcp/desk", "log-announce")];

fn say(session: &Session, tool: &str, number: u64) {
    late(session, &tool.replace("announce", "emit"), &[updated(number)]);
}

fn updated(number: u64) -> Value {
    notification("notifications/resources/updated", json!({"uri": format!("res://{number}")}))
}

fn number_of(message: &Value) -> Option<u64> {
    message["params"]["uri"].as_str()?.strip_prefix("res://")?.parse().ok()
}

/// What a client was told after its session has moved, until an event with this number has come.
#[derive(Default)]
struct Told {
    losses: usize,
    lists: BTreeSet<String>,
    numbers: Vec<u64>,
}

impl Told {
    fn until(last: u64, mut next: impl FnMut() -> Value) -> Self {
        let mut told = Self::default();
        while told.numbers.last() != Some(&last) || told.lists.len() < 3 {
            told.note(&next());
        }
        told
    }

    fn note(&mut self, message: &Value) {
        let method = message["method"].as_str().unwrap_or_default();
        if message["params"]["logger"] == "mooring" {
            assert!(message["params"]["data"].as_str().unwrap().contains("log"), "{message}");
            self.losses += 1;
        } else if method.ends_with("/list_changed") {
            self.lists.insert(method.to_owned());
        } else if let Some(number) = number_of(message) {
            self.numbers.push(number);
        }
    }

    fn is_of_a_move(&self, path: &str) {
        assert_eq!(self.losses, 1, "{path}: told once");
        assert_eq!(self.numbers, [2, 3, 4], "{path}: none is lost, and none comes twice");
    }
}

fn message(stream: &mut Incoming) -> Value {
    stream.message(|_| true)
}

#[test]
fn a_get_stream_moves_with_its_session_when_its_node_falls_silent() {
    for (path, tool) in SCOPES {
        let mut cut = Cut::new();
        let session = cut.session(path, tool);
        let mut stream = session.listen();
        say(&session, tool, 1);
        while number_of(&message(&mut stream)) != Some(1) {}
        cut.cable.cut();
        for number in 2..5 {
            say(&session, tool, number);
        }
        assert_eq!(cut.last_node(), Some(1), "{path}");
        Told::until(4, || message(&mut stream)).is_of_a_move(path);
    }
}

#[test]
fn a_get_stream_that_begins_at_a_silent_node_is_opened_where_the_session_goes_on() {
    for (path, tool) in SCOPES {
        let mut cut = Cut::new();
        let session = cut.session(path, tool);
        cut.cable.silence();
        let told = std::thread::scope(|scope| {
            let listening = scope.spawn(|| {
                let mut stream = session.listen();
                Told::until(4, || message(&mut stream))
            });
            // The node is asked before the stream is, and does not answer.
            cut.cable.cut();
            for number in 2..5 {
                say(&session, tool, number);
            }
            listening.join().unwrap()
        });
        told.is_of_a_move(path);
    }
}

#[test]
fn an_http_sse_client_hears_the_server_to_which_its_session_has_moved() {
    for (path, tool) in [("/sse/log", "emit"), ("/sse", "log-emit"), ("/sse/desk", "log-emit")] {
        let mut cut = Cut::new();
        let address = cut.cluster.coordinator.address();
        let call = |client: &mut OverSse, number: u64| {
            let id = format!("call {number}");
            let answer = json!({"jsonrpc": "2.0", "id": id, "result": {"content": []}});
            let messages = mooring_tests::orders::coded(&[answer, updated(number)]);
            let params = json!({"name": tool, "arguments": {"messages": messages}});
            client.send(&json!({
                "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params,
            }));
        };
        let mut client = eventually("a session is at the node", || {
            let mut client = OverSse::initialize(address, path);
            call(&mut client, 1);
            client.wait_for(|message| number_of(message) == Some(1));
            (cut.last_node() == Some(0)).then_some(client)
        });
        cut.cable.cut();
        for number in 2..5 {
            call(&mut client, number);
        }
        let told = RefCell::new(Told::default());
        client.wait_for(|message| {
            let mut told = told.borrow_mut();
            told.note(message);
            told.numbers.len() == 3 && told.losses > 0 && told.lists.len() == 3
        });
        let mut told = told.into_inner();
        // The calls were under way at the same time.
        told.numbers.sort_unstable();
        told.is_of_a_move(path);
    }
}
