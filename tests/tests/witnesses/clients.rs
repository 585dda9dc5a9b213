//! Clients that people have beside the official SDK of today, run as ../witness/README.md says.
//!
//! A thin case of each runs always; all of them in all situations is long.

use std::process::{Command, Stdio};

use mooring_tests::running::Running;
use mooring_tests::{Cluster, Gateway, PATIENCE, binaries, borrowed, servers, settings, within};
use rustix::process::Signal;
use serde_json::{Value, json};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Client {
    TypeScript1,
    TypeScript2,
    Python,
    Python1,
    FastMcp,
    OpenAiAgents,
    PydanticAi,
    LangChain,
    McpUse,
    McpRemote,
    Rmcp,
    /// An EventSource with a few lines around it.
    EventSource,
}

use Client::{
    EventSource, FastMcp, LangChain, McpRemote, McpUse, OpenAiAgents, PydanticAi, Python, Python1,
    Rmcp, TypeScript1, TypeScript2,
};

const ALL: [Client; 11] = [
    TypeScript1,
    TypeScript2,
    Python,
    Python1,
    FastMcp,
    OpenAiAgents,
    PydanticAi,
    LangChain,
    McpUse,
    McpRemote,
    Rmcp,
];

/// Clients whose SDK takes no event of more than 1 MiB, unless it is told to.
const SMALL_EVENTS: [Client; 3] = [Python, FastMcp, PydanticAi];
/// Clients that show no progress to those who use them.
const NO_PROGRESS: [Client; 2] = [OpenAiAgents, McpUse];
/// Clients that do not let those who use them answer questions.
const NO_QUESTIONS: [Client; 1] = [OpenAiAgents];

impl Client {
    /// Its key in have.json, and the name of it in frameworks.py.
    fn name(self) -> &'static str {
        match self {
            TypeScript1 => "ts_v1",
            TypeScript2 => "ts_v2",
            Python => "python",
            Python1 => "python_v1",
            FastMcp => "fastmcp",
            OpenAiAgents => "openai_agents",
            PydanticAi => "pydantic_ai",
            LangChain => "langchain",
            McpUse => "mcp_use",
            McpRemote => "mcp_remote",
            Rmcp => "rmcp",
            EventSource => "event_source",
        }
    }

    fn is_at_hand(self, what: &str) -> bool {
        let what = format!("{what}, {self:?}");
        match self {
            Rmcp => true,
            TypeScript1 | TypeScript2 => borrowed::at_hand(&what, &["node", self.name()]),
            McpRemote => borrowed::at_hand(&what, &["node", "ts_v1", self.name()]),
            EventSource => borrowed::at_hand(&what, &["node", "ts_v1"]),
            _ => borrowed::at_hand(&what, &[self.name()]),
        }
    }

    fn command(self, scenario: &str, url: &str, options: &Value) -> Command {
        let witness = settings::repository().join("tests/witness");
        let node = |script: &str| {
            let mut command = Command::new(borrowed::starter("node"));
            command.arg(witness.join(script));
            command
        };
        let mut command = match self {
            Rmcp => Command::new(binaries::program("mooring-rmcp-client")),
            TypeScript1 => node("ts/v1.mjs"),
            TypeScript2 => node("ts/v2.mjs"),
            McpRemote => node("ts/remote.mjs"),
            EventSource => node("ts/event_source.mjs"),
            _ => {
                let python = if self == Python {
                    "python".to_owned()
                } else {
                    format!("python-{}", self.name())
                };
                let mut command = Command::new(borrowed::starter(&python));
                command.arg(witness.join("py/frameworks.py")).arg(self.name());
                command
            }
        };
        command
            .args([scenario, url, &options.to_string()])
            .env("MOORING_WITNESS_DIR", borrowed::folder())
            .stderr(Stdio::piped());
        command
    }

    /// What it tells of everything that it has tried.
    #[track_caller]
    fn whole(self, url: &str, options: &Value) -> Value {
        let output =
            self.command("whole", url, options).stdin(Stdio::null()).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout);
        let failed = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{self:?} {url}: {failed}{said}");
        // Some write lines of their own before.
        let last = said.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{self:?}: {error}: {said}"))
    }

    #[track_caller]
    fn hold(self, url: &str, options: &Value) -> Held {
        let mut command = self.command("hold", url, options);
        command.stderr(Stdio::null());
        let mut process = Running::start(&mut command);
        assert_eq!(process.json()["ready"], true, "{self:?}");
        Held { process }
    }
}

/// A client that stays connected.
struct Held {
    process: Running,
}

impl Held {
    /// The text of a tool's answer.
    #[track_caller]
    fn call(&mut self, tool: &str) -> Result<String, String> {
        self.process.send(&json!({"tool": tool, "arguments": {}}));
        let said = self.process.json();
        said["text"].as_str().map(str::to_owned).ok_or_else(|| said.to_string())
    }

    /// The value of the counter, once the client has got over what has happened. Calls meanwhile
    /// may have been counted without an answer.
    #[track_caller]
    fn count(&mut self, tool: &str) -> u64 {
        within(PATIENCE * 3, "the client goes on", || self.call(tool).ok()?.parse().ok())
    }
}

fn examples() -> Value {
    json!({"counter": servers::counter(), "clock": servers::clock()})
}

/// Tries everything that the client can do with these servers at this URL.
#[track_caller]
fn does_all(client: Client, url: &str, prefixes: bool, options: Value) {
    let name = |server: &str, tool: &str| match prefixes {
        true => format!("{server}-{tool}"),
        false => tool.to_owned(),
    };
    let mut asked = json!({
        "count": name("counter", "count"),
        "progress": prefixes.then(|| name("clock", "wait_with_progress")),
    });
    asked = settings::merged(asked, options);
    if SMALL_EVENTS.contains(&client) {
        asked["size"] = 1_000_000.into();
    }
    if NO_QUESTIONS.contains(&client) {
        asked["elicit"] = Value::Null;
    }
    let told = client.whole(url, &asked);
    let tools: Vec<&str> =
        told["tools"].as_array().expect("tools").iter().filter_map(Value::as_str).collect();
    assert!(tools.contains(&asked["count"].as_str().unwrap()), "{client:?} {url}: {told}");
    assert_eq!(told["counts"], json!(["1", "2", "3"]), "{client:?} {url}: {told}");
    assert_eq!(told["parallel"], 50, "{client:?} {url}: {told}");
    if asked["progress"].is_string() && !NO_PROGRESS.contains(&client) {
        // These hand an answer on before a notification that came in one piece with it.
        let fewest = if matches!(client, McpRemote | TypeScript1) { 4 } else { 5 };
        let told_of = told["progress"].as_u64().unwrap_or_default();
        assert!((fewest..=5).contains(&told_of), "{client:?} {url}: {told}");
    }
    if asked["elicit"].is_string() {
        assert_eq!(told["asked"], 1, "{client:?} {url}: {told}");
        let text = told["elicited"].as_str().unwrap_or_default();
        assert!(text.contains("witness"), "{client:?} {url}: {told}");
    }
    if asked["echo"].is_string() {
        let size = asked["size"].as_u64().unwrap_or(5_000_000);
        assert!(told["echoed"].as_u64().unwrap_or(0) >= size, "{client:?} {url}: {told}");
    }
}

/// The thin case: one gateway, all servers behind one URL.
#[track_caller]
fn works(client: Client) {
    if !client.is_at_hand("a client") {
        return;
    }
    let gateway = Gateway::start_with(&settings::standalone(examples()));
    gateway.wait_until_discovered(&["counter", "clock"]);
    does_all(client, &format!("{}/mcp", gateway.url()), true, json!({}));
}

macro_rules! each_works {
    ($($(#[$attribute:meta])? $test:ident: $client:expr,)*) => {
        $(#[test]
        $(#[$attribute])?
        fn $test() {
            works($client);
        })*
    };
}

each_works! {
    the_typescript_sdk_1_works: TypeScript1,
    the_typescript_sdk_2_works: TypeScript2,
    the_python_sdk_2_works: Python,
    the_python_sdk_1_works: Python1,
    fastmcp_works: FastMcp,
    #[ignore = "long: one more client upon the Python SDK"]
    openai_agents_works: OpenAiAgents,
    #[ignore = "long: one more client upon the Python SDK"]
    pydantic_ai_works: PydanticAi,
    #[ignore = "long: one more client upon the Python SDK"]
    langchain_works: LangChain,
    mcp_use_works: McpUse,
    mcp_remote_works: McpRemote,
    rmcp_works: Rmcp,
}

/// A client of later revisions asks for one first; it is refused at once, and begins a session.
#[track_caller]
fn falls_back(client: Client, options: &Value) {
    if !client.is_at_hand("falling back to initialize") {
        return;
    }
    let standalone = Gateway::start_with(&settings::standalone(examples()));
    standalone.wait_until_discovered(&["counter", "clock"]);
    let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    let mut cluster = Cluster { coordinator, nodes: Vec::new() };
    cluster.add("a", examples());
    cluster.wait_for_active(1);
    for (gateway, path, prefixes) in [
        (&standalone, "/mcp", true),
        (&standalone, "/mcp/counter", false),
        (&cluster.coordinator, "/mcp/counter", false),
    ] {
        does_all(client, &format!("{}{path}", gateway.url()), prefixes, options.clone());
    }
}

#[test]
fn the_typescript_sdk_2_falls_back_to_initialize() {
    falls_back(TypeScript2, &json!({"era": "auto"}));
}

#[test]
fn the_python_sdk_2_falls_back_to_initialize() {
    falls_back(Python, &json!({}));
}

#[test]
fn rmcp_falls_back_to_initialize_and_to_a_revision_with_sessions() {
    falls_back(Rmcp, &json!({"lifecycle": "auto"}));
    falls_back(Rmcp, &json!({"lifecycle": "initialize"}));
}

/// The same clients at a gateway that serves them without sessions: what servers hold and what they
/// ask reaches them all the same.
#[track_caller]
fn needs_no_session(client: Client, options: &Value) {
    if !client.is_at_hand("a client without a session") {
        return;
    }
    let system =
        json!({"systemConfig": {"eras": ["legacy", "modern"], "conversations": ["address"]}});
    let mut servers = examples();
    servers["fixture"] = json!({"command": "mooring-conformance-server", "args": ["stdio"]});
    let standalone = settings::merged(settings::standalone(servers.clone()), system.clone());
    let standalone = Gateway::start_with(&standalone);
    standalone.wait_until_discovered(&["counter", "clock", "fixture"]);
    let coordinator = settings::merged(settings::coordinator(json!({})), system);
    let coordinator = Gateway::start_with(&coordinator);
    let mut cluster = Cluster { coordinator, nodes: Vec::new() };
    cluster.add("a", servers);
    cluster.wait_for_active(1);
    let asks = json!({"elicit": "fixture-test_input_required_result_elicitation"});
    for gateway in [&standalone, &cluster.coordinator] {
        let options = settings::merged(options.clone(), asks.clone());
        does_all(client, &format!("{}/mcp", gateway.url()), true, options);
    }
}

#[test]
fn the_typescript_sdk_2_needs_no_session() {
    needs_no_session(TypeScript2, &json!({"era": "2026-07-28"}));
    needs_no_session(TypeScript2, &json!({"era": "auto"}));
}

#[test]
fn the_python_sdk_2_needs_no_session() {
    needs_no_session(Python, &json!({}));
}

#[test]
fn rmcp_needs_no_session() {
    needs_no_session(Rmcp, &json!({"lifecycle": "auto"}));
}

/// The client's session outlives the coordinator and then the node that holds it.
#[track_caller]
fn outlives_both(client: Client, root: &str, options: &Value) {
    let mut cluster = Cluster::of_two_equal_nodes(json!({}));
    let url = format!("{}{root}", cluster.coordinator.url());
    for (scope, tool) in [("", "counter-count"), ("/counter", "count")] {
        let mut held = client.hold(&format!("{url}{scope}"), options);
        assert_eq!(held.count(tool), 1, "{client:?} {scope}");
        cluster.coordinator.restart_after(Signal::KILL);
        // The state is still there: the node has kept it.
        let after = held.count(tool);
        assert!(after >= 2, "{client:?} {scope}: {after}");
        for index in [0, 1] {
            cluster.nodes[index].kill9();
            held.count(tool);
            cluster.nodes[index].start();
            cluster.wait_for_active(2);
        }
    }
}

#[test]
fn a_client_outlives_a_coordinator_and_its_nodes() {
    for client in [Python, Rmcp] {
        if client.is_at_hand("a restarted coordinator") {
            outlives_both(client, "/mcp", &json!({}));
        }
    }
}

#[test]
fn an_event_source_that_opens_its_stream_again_goes_on() {
    if EventSource.is_at_hand("a restarted coordinator over HTTP+SSE") {
        outlives_both(EventSource, "/sse", &json!({}));
    }
}

#[test]
fn a_client_that_comes_back_without_an_id_hears_at_once_that_its_session_is_gone() {
    let options = json!({"transport": "sse", "timeoutMs": 5000});
    // The SDK's transport drops the id with which its EventSource comes back. mcp-remote does so too,
    // and does not hand on that a POST has failed.
    for client in [TypeScript1] {
        if !client.is_at_hand("a restarted gateway over HTTP+SSE") {
            continue;
        }
        let mut gateway = Gateway::start_with(&settings::standalone(examples()));
        let url = format!("{}/sse/counter", gateway.url());
        let mut held = client.hold(&url, &options);
        assert_eq!(held.count("count"), 1, "{client:?}");
        gateway.restart_after(Signal::KILL);
        within(PATIENCE * 3, "the client is told", || {
            held.call("count").err().filter(|error| error.contains("Session not found"))
        });
        assert_eq!(client.hold(&url, &options).count("count"), 1, "{client:?}: anew");
    }
}

#[test]
#[ignore = "long: every client in every situation"]
fn every_client_does_everything_standalone_and_in_a_cluster() {
    let what = "every client in every situation";
    if !borrowed::at_hand(what, &["everything"]) {
        return;
    }
    let everything = json!({"command": borrowed::starter("server-everything")});
    let servers = settings::merged(examples(), json!({"everything": everything}));
    let standalone = Gateway::start_with(&settings::standalone(servers.clone()));
    let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    let mut cluster = Cluster { coordinator, nodes: Vec::new() };
    cluster.add("a", servers.clone());
    cluster.add("b", servers);
    cluster.wait_for_active(2);
    let options = json!({
        "elicit": "everything-trigger-elicitation-request",
        "echo": "everything-echo",
    });
    for client in ALL.into_iter().filter(|client| client.is_at_hand(what)) {
        for gateway in [&standalone, &cluster.coordinator] {
            does_all(client, &format!("{}/mcp", gateway.url()), true, options.clone());
            does_all(client, &format!("{}/mcp/counter", gateway.url()), false, json!({}));
        }
    }
    // The clients that still have the older transport.
    let over_sse = [TypeScript1, Python1, FastMcp, OpenAiAgents, PydanticAi, LangChain, McpRemote];
    let sse = json!({"transport": "sse"});
    for client in over_sse.into_iter().filter(|client| client.is_at_hand(what)) {
        for gateway in [&standalone, &cluster.coordinator] {
            let options = settings::merged(options.clone(), sse.clone());
            does_all(client, &format!("{}/sse", gateway.url()), true, options);
            does_all(client, &format!("{}/sse/counter", gateway.url()), false, sse.clone());
        }
    }
}

#[test]
#[ignore = "long: every client outlives a coordinator and its nodes"]
fn every_client_outlives_a_coordinator_and_its_nodes() {
    for client in ALL {
        if client.is_at_hand("every client and a restarted coordinator") {
            outlives_both(client, "/mcp", &json!({}));
        }
    }
}
