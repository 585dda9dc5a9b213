//! Planned work on a node: by SIGTERM, and by order of the coordinator.

use std::time::{Duration, Instant};

use mooring_tests::{Client, Cluster, Gateway, OverSse, Session, eventually, servers, settings};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Longer than any test waits: what leaves before it does so for another reason.
const LONG: u64 = 60_000;

fn node(cluster: &Cluster, id: &str, servers: Value, deadline: u64) -> Gateway {
    let node = settings::node(cluster.coordinator.port(), json!({"id": id}), servers);
    let deadline = json!({"systemConfig": {"cluster": {"drainDeadline": deadline}}});
    Gateway::start_with(&settings::roomy(settings::merged(node, deadline)))
}

/// Two nodes with the same servers and this `drainDeadline`. The header names the node.
fn cluster_of(deadline: u64, servers: impl Fn(&str) -> Value) -> Cluster {
    let by_header = json!({"stickySession": {"enabled": true, "strategy": "header"}});
    let coordinator = Gateway::start_with(&settings::coordinator(by_header));
    let mut cluster = Cluster { coordinator, nodes: Vec::new() };
    for id in ["a", "b"] {
        let started = node(&cluster, id, servers(id), deadline);
        cluster.nodes.push(started);
    }
    cluster.wait_for_active(2);
    cluster
}

fn counters(id: &str) -> Value {
    json!({"counter": servers::counter_named(id), "clock": servers::clock(), "asker": asker()})
}

fn asker() -> Value {
    json!({"command": "mooring-conformance-server", "args": ["stdio"]})
}

fn at_a(cluster: &Cluster, path: &str) -> Client {
    cluster.client(path).header("X-MCPHub-Node", "a")
}

fn able(client: Client) -> Session {
    let params = json!({
        "protocolVersion": "2025-11-25",
        "capabilities": {"elicitation": {"form": {}}, "sampling": {}},
        "clientInfo": {"name": "mooring-tests", "version": "1"},
    });
    client.params(params).initialize()
}

#[track_caller]
fn order(cluster: &Cluster, id: &str, what: &str, body: &str) -> Value {
    let path = format!("/api/cluster/nodes/{id}/{what}");
    let request = mooring_tests::Request::post(&path).header("Content-Type", "application/json");
    let answer = request.body(body.as_bytes().to_vec()).send(cluster.coordinator.address());
    answer.expect(200).json()["data"].clone()
}

/// Waits until the coordinator's entry of `a` is so.
#[track_caller]
fn wait_for_a(cluster: &Cluster, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    eventually(what, || cluster.node("a").filter(|entry| is_so(entry)))
}

#[track_caller]
fn wait_until_draining(cluster: &Cluster) {
    wait_for_a(cluster, "the coordinator knows that it drains", |a| a["draining"] == true);
}

#[test]
fn a_node_with_sigterm_says_at_once_that_it_drains_and_keeps_what_has_state() {
    let mut cluster = cluster_of(LONG, counters);
    let session = at_a(&cluster, "/mcp/counter").initialize();
    assert_eq!((session.count("count"), session.whoami("whoami").name), (1, "a".to_owned()));
    cluster.nodes[0].signal(Signal::TERM);
    wait_until_draining(&cluster);
    assert_eq!(session.count("count"), 2, "its state is kept until the deadline");
    let other = at_a(&cluster, "/mcp/counter").initialize();
    assert_eq!(other.whoami("whoami").name, "b", "no new session");
    let entry = wait_for_a(&cluster, "the reason is shown", |a| a["drain"]["sessions"] == 1);
    assert_eq!(entry["drain"]["waits"]["state"], 1, "{entry}");
    assert_eq!(
        (&entry["drain"]["ends"], &entry["drain"]["drained"]),
        (&json!(true), &json!(false))
    );
    let began = Instant::now();
    assert!(cluster.nodes[0].terminate().success(), "a second signal ends it");
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_node_without_sessions_ends_at_once_and_says_good_bye() {
    let mut cluster = cluster_of(LONG, counters);
    let began = Instant::now();
    assert!(cluster.nodes[0].terminate().success());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(cluster.node("a").unwrap()["status"], "inactive");
}

#[test]
fn idle_sessions_with_state_leave_at_the_deadline_and_their_clients_are_told() {
    let mut cluster = cluster_of(1500, counters);
    let session = at_a(&cluster, "/mcp").initialize();
    let mut stream = session.listen();
    assert_eq!(session.count("counter-count"), 1);
    let began = Instant::now();
    assert!(cluster.nodes[0].terminate().success());
    assert!(began.elapsed() >= Duration::from_millis(1500), "{:?}", began.elapsed());
    assert_eq!(session.count("counter-count"), 1, "at b its count begins anew");
    let told = stream.message(|message| message["method"] == "notifications/message");
    assert!(told.to_string().contains("lost"), "{told}");
}

#[test]
fn a_session_in_use_leaves_between_two_calls_long_before_the_deadline() {
    let mut cluster = cluster_of(10_000, counters);
    let sessions: Vec<Session> =
        (0..4).map(|_| at_a(&cluster, "/mcp/counter").initialize()).collect();
    assert!(sessions.iter().all(|session| session.whoami("whoami").name == "a"));
    std::thread::scope(|scope| {
        let callers: Vec<_> = sessions
            .iter()
            .map(|session| {
                scope.spawn(|| {
                    let began = Instant::now();
                    while began.elapsed() < Duration::from_secs(8) {
                        session.call("count", json!({}));
                    }
                })
            })
            .collect();
        let began = Instant::now();
        assert!(cluster.nodes[0].terminate().success());
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
        callers.into_iter().for_each(|caller| caller.join().expect("no call fails"));
    });
    assert!(sessions.iter().all(|session| session.whoami("whoami").name == "b"));
}

#[test]
fn answers_cancels_and_progress_reach_a_node_that_drains() {
    for path in ["/mcp", "/mcp/asker"] {
        let cluster = cluster_of(LONG, counters);
        let (prefix, session) = match path {
            "/mcp" => ("asker-", able(at_a(&cluster, path))),
            _ => ("", able(at_a(&cluster, path))),
        };
        let tool = format!("{prefix}test_elicitation");
        let (mut stream, id) = session.start(&tool, json!({"message": "m"}), json!({}));
        let question = stream.message(|message| message["method"] == "elicitation/create");
        let clock = at_a(&cluster, "/mcp/clock").initialize();
        let (mut sleeping, cancelled) = clock.start("sleep", json!({"ms": 50_000}), json!({}));
        eventually("the call is under way", || {
            let now = clock.call("now", json!({}));
            (now["structuredContent"]["waiting"] == 1).then_some(())
        });
        cluster.nodes[0].signal(Signal::TERM);
        wait_until_draining(&cluster);
        wait_for_a(&cluster, "both calls are waited for", |a| a["drain"]["waits"]["request"] == 2);
        clock.notify("notifications/cancelled", json!({"requestId": cancelled})).expect(202);
        eventually("the call is cancelled at its server", || {
            let now = clock.call("now", json!({}));
            (now["structuredContent"]["waiting"] == 0).then_some(())
        });
        while sleeping.next_event().is_some() {}
        // Over another connection, as most clients do.
        let content = json!({"username": "u", "email": "a@b"});
        session.reply(&question["id"], json!({"action": "accept", "content": content}));
        let answer = stream.message(|message| message["id"] == id);
        assert!(answer["result"]["content"][0]["text"].is_string(), "{path}: {answer}");
    }
}

#[test]
fn a_call_of_an_sse_client_and_a_batch_end_well_at_a_node_that_drains() {
    let cluster = cluster_of(LONG, counters);
    let address = cluster.coordinator.address();
    let mut over_sse = OverSse::open_with(address, "/sse/clock", &[("X-MCPHub-Node", "a")]);
    over_sse.begin();
    let sleeping = over_sse.ask("tools/call", json!({"name": "sleep", "arguments": {"ms": 2500}}));
    let old = at_a(&cluster, "/mcp/clock").revision("2025-03-26").initialize();
    let call = |id: u64| {
        let params = json!({"name": "sleep", "arguments": {"ms": 2500}});
        json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})
    };
    std::thread::scope(|scope| {
        let batch = scope.spawn(|| {
            let answers = old.post(&json!([call(91), call(92)])).send(address).expect(200);
            answers.messages()
        });
        wait_for_a(&cluster, "all run", |_| {
            old.call("now", json!({}))["structuredContent"]["waiting"] == 2
        });
        cluster.nodes[0].signal(Signal::TERM);
        let answer = over_sse.answer_to(&sleeping);
        assert_eq!(answer["result"]["structuredContent"]["ms"], 2500, "{answer}");
        let answers = Value::from(batch.join().unwrap()).to_string();
        for id in [91, 92] {
            assert!(answers.contains(&format!("\"id\":{id}")), "{answers}");
        }
    });
}

#[test]
fn a_drain_by_order_lets_sessions_go_shows_its_progress_and_is_taken_back() {
    let cluster = cluster_of(LONG, counters);
    let session = at_a(&cluster, "/mcp/counter").initialize();
    assert_eq!(session.count("count"), 1);
    let ordered = order(&cluster, "a", "drain", "");
    assert_eq!(ordered["draining"], true);
    assert_eq!(ordered["lastReplicaOf"], json!([]), "{ordered}");
    let left = |entry: &Value| entry["drain"]["waits"]["state"] == 1;
    wait_for_a(&cluster, "it waits for the deadline", left);
    assert_eq!(at_a(&cluster, "/mcp/counter").initialize().whoami("whoami").name, "b");
    assert_eq!(order(&cluster, "a", "undrain", "")["wasDraining"], true);
    // A heartbeat of before may be on its way.
    eventually("it takes sessions again", || {
        let new = at_a(&cluster, "/mcp/counter").initialize();
        (new.whoami("whoami").name == "a").then_some(())
    });
    assert_eq!(session.count("count"), 2, "nothing has happened to it");
    // Another deadline: now.
    order(&cluster, "a", "drain", r#"{"deadlineMs": 0}"#);
    let entry = wait_for_a(&cluster, "it is drained", |a| a["drain"]["drained"] == true);
    assert_eq!((&entry["status"], &entry["drain"]["sessions"]), (&json!("active"), &json!(0)));
    assert_eq!(session.count("count"), 1, "it goes on at b");
    assert_eq!(session.whoami("whoami").name, "b");
    assert_eq!(order(&cluster, "a", "undrain", "{}")["draining"], false);
}

#[test]
fn the_drain_of_a_node_survives_the_restart_of_its_coordinator() {
    let mut cluster = cluster_of(LONG, counters);
    let session = at_a(&cluster, "/mcp/counter").initialize();
    session.count("count");
    order(&cluster, "a", "drain", "");
    cluster.coordinator.restart_after(Signal::KILL);
    cluster.wait_for_active(2);
    let entry = wait_for_a(&cluster, "it drains on", |a| a["drain"]["waits"]["state"] == 1);
    assert_eq!(entry["draining"], true);
    assert_eq!(session.count("count"), 2);
    assert_eq!(at_a(&cluster, "/mcp/counter").initialize().whoami("whoami").name, "b");
}

#[test]
fn the_last_replica_keeps_its_sessions_and_new_ones_are_refused_with_the_reason() {
    let mut cluster = cluster_of(LONG, |id| match id {
        "a" => json!({"counter": servers::counter_named("a"), "only": servers::counter_named("a")}),
        _ => json!({"counter": servers::counter_named("b")}),
    });
    let session = at_a(&cluster, "/mcp/only").initialize();
    session.count("count");
    let ordered = order(&cluster, "a", "drain", r#"{"deadlineMs": 0}"#);
    assert_eq!(ordered["lastReplicaOf"], json!(["only"]));
    wait_for_a(&cluster, "it waits for a replica", |a| a["drain"]["waits"]["lastReplica"] == 1);
    assert_eq!(session.count("count"), 2);
    let refused = cluster.client("/mcp/only").try_initialize();
    assert!(refused.text().contains("node a drains"), "{}", refused.text());
    let c = node(&cluster, "c", json!({"only": servers::counter_named("c")}), LONG);
    cluster.nodes.push(c);
    wait_for_a(&cluster, "it is drained", |a| a["drain"]["drained"] == true);
    assert_eq!(session.whoami("whoami").name, "c");
}

#[test]
fn orders_that_cannot_be_carried_out_say_why() {
    let mut cluster = cluster_of(LONG, counters);
    let refused = |id: &str, body: &str, status: u16| {
        let path = format!("/api/cluster/nodes/{id}/drain");
        let request = mooring_tests::Request::post(&path);
        let answer = request.body(body.as_bytes().to_vec()).send(cluster.coordinator.address());
        answer.expect(status).json()["message"].as_str().unwrap().to_owned()
    };
    assert_eq!(refused("nobody", "", 404), "Node not found: nobody");
    assert!(refused("a", r#"{"deadlineMs": -1}"#, 400).contains("deadlineMs"));
    assert!(refused("a", r#"{"deadlineMs": 86400001}"#, 400).contains("a day"));
    assert!(refused("a", r#"{"deadline": 1}"#, 400).contains("deadline"));
    cluster.nodes[1].kill9();
    let mut node = cluster.nodes.remove(0);
    let path = "/api/cluster/nodes/a/drain";
    mooring_tests::Request::post(path).send(node.address()).expect(403);
    let session = at_a(&cluster, "/mcp/counter").initialize();
    session.count("count");
    node.signal(Signal::TERM);
    wait_until_draining(&cluster);
    let undrain = mooring_tests::Request::post("/api/cluster/nodes/a/undrain");
    undrain.send(cluster.coordinator.address()).expect(409);
    node.terminate();
    eventually("it is refused", || {
        let answer = mooring_tests::Request::post(path).send(cluster.coordinator.address());
        (answer.status == 409).then_some(())
    });
}

#[test]
fn the_command_drains_shows_why_it_waits_and_undrains() {
    let cluster = cluster_of(LONG, counters);
    let session = at_a(&cluster, "/mcp/counter").initialize();
    session.count("count");
    let run = |arguments: &[&str]| {
        let url = cluster.coordinator.url();
        let mut command = std::process::Command::new(mooring_tests::binaries::program("mooring"));
        let output = command.args(arguments).args(["--url", &url]).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    let (done, said) = run(&["drain", "a", "--deadline", "2"]);
    assert!(done && said.contains("1 with state, until the deadline"), "{said}");
    assert!(said.contains("a is drained"), "{said}");
    let (done, said) = run(&["undrain", "a"]);
    assert!(done && said.contains("takes sessions again"), "{said}");
    let (done, said) = run(&["drain", "nobody"]);
    assert!(!done && said.contains("Node not found: nobody"), "{said}");
    let (done, _) = run(&["drain", "a", "--deadline", "1d"]);
    assert!(!done);
}
