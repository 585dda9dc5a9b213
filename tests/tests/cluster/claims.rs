//! What a node may say of itself, and what its coordinator makes of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mooring_tests::fake_node::Says;
use mooring_tests::{
    Behind, FakeNode, Gateway, PlayedCoordinator, PlayedNode, Request, eventually, process,
    servers, settings,
};
use serde_json::{Value, json};

/// The id of a session. Those of one kind differ from those of another.
fn session(kind: u32, number: usize) -> String {
    format!("{kind:08x}-0000-4000-8000-{number:012x}")
}

/// Pages of a thousand sessions, `count` in all, and how many were asked for.
fn pages(kind: u32, count: usize, more: Value) -> (Says, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let says = Says::default().held(move |after| {
        counted.fetch_add(1, Ordering::Relaxed);
        let from = after.split('/').next().and_then(|id| id.rsplit('-').next());
        let from = from.and_then(|id| usize::from_str_radix(id, 16).ok()).map_or(0, |id| id + 1);
        let size = if more.is_null() { 1000 } else { 190 };
        let to = (from + size).min(count);
        let held: Vec<Value> = (from..to)
            .map(|number| {
                let held = json!({
                    "session": session(kind, number), "server": "A", "openedAt": 1000,
                });
                if more.is_null() { held } else { settings::merged(held, more.clone()) }
            })
            .collect();
        let mut page = json!({"bindings": held});
        if to < count {
            page["next"] = format!("{}/A", session(kind, to - 1)).into();
        }
        page
    });
    (says, asked)
}

fn coordinator() -> Gateway {
    Gateway::start_with(&settings::coordinator(json!({})))
}

fn sessions(coordinator: &Gateway) -> u64 {
    coordinator.data("/api/cluster/status")["stats"]["sessions"].as_u64().unwrap()
}

fn holder(coordinator: &Gateway, session: &str) -> Value {
    coordinator.data(&format!("/api/cluster/sessions/{session}"))["nodeId"].clone()
}

#[test]
fn a_node_that_claims_sessions_without_end_is_cut_off() {
    let coordinator = coordinator();
    let long = json!({"subscriptions": ["x".repeat(20_000)]});
    let many: Vec<String> = (10..30).map(|n| format!("{n}{}", "y".repeat(1000))).collect();
    for more in [long, json!({"subscriptions": many})] {
        let (says, asked) = pages(1, usize::MAX, more);
        let node = says.start("node-1");
        let before = process::resident(coordinator.pid());
        node.register(&coordinator, json!(["A"]), json!({})).expect(200);
        let pages = asked.load(Ordering::Relaxed);
        assert!((2..40).contains(&pages), "{pages} pages were taken");
        coordinator.wait_for_log("no further ones");
        let metrics = coordinator.get("/metrics").text();
        assert!(!metrics.contains("mooring_claims_cut_off_total 0"), "{metrics}");
        let grown = process::resident(coordinator.pid()).saturating_sub(before) >> 20;
        assert!(grown < 48, "{grown} MiB");
    }
}

#[test]
fn a_large_node_keeps_its_sessions() {
    let coordinator = coordinator();
    let (says, _) = pages(1, 10_000, Value::Null);
    let node = says.start("node-1");
    node.register(&coordinator, json!(["A"]), json!({})).expect(200);
    assert_eq!(sessions(&coordinator), 10_000);
    assert_eq!(holder(&coordinator, &session(1, 9_999)), "node-1");
    assert!(!coordinator.log().contains("no further ones"));
}

#[test]
fn a_node_has_no_more_sessions_than_room_however_often_it_registers() {
    let coordinator = coordinator();
    for kind in 1..=3 {
        let (says, _) = pages(kind, 25_000, Value::Null);
        let node = says.start("node-1");
        node.register(&coordinator, json!(["A"]), json!({})).expect(200);
        assert_eq!(sessions(&coordinator), 20_000);
        // The next one is believed only once this one is gone.
        node.deregister(&coordinator).expect(200);
    }
    let (says, _) = pages(9, 30_000, Value::Null);
    let roomy = says.start("node-2");
    let load = json!({"load": {"slots": 30_000}});
    roomy.register(&coordinator, json!(["A"]), load).expect(200);
    assert_eq!(sessions(&coordinator), 50_000);
}

#[test]
fn what_a_node_claims_of_a_server_that_it_does_not_run_does_not_count() {
    let coordinator = coordinator();
    let (says, _) = pages(1, 10, Value::Null);
    says.start("node-1").register(&coordinator, json!(["B"]), json!({})).expect(200);
    assert_eq!(sessions(&coordinator), 0);
}

#[test]
fn a_session_stays_with_its_node_while_that_is_alive() {
    let coordinator = coordinator();
    let holds = |opened_at: u64| {
        let held = json!({"session": session(1, 1), "server": "A", "openedAt": opened_at});
        Says::default().held(move |_| json!({"bindings": [held.clone()]}))
    };
    let honest = holds(2000).start("honest");
    honest.register(&coordinator, json!(["A"]), json!({})).expect(200);
    let other = holds(1).start("other");
    other.register(&coordinator, json!(["A"]), json!({})).expect(200);
    assert_eq!(holder(&coordinator, &session(1, 1)), "honest");
    let closed = |node: &FakeNode| {
        let seen = node.seen();
        seen.into_iter().any(|asked| asked.method == "DELETE")
    };
    eventually("the other one is told to close it", || closed(&other).then_some(()));
    assert!(!closed(&honest));
    // Of a node that is gone, the one that opened it earlier takes it over.
    honest.deregister(&coordinator).expect(200);
    other.register(&coordinator, json!(["A"]), json!({})).expect(200);
    assert_eq!(holder(&coordinator, &session(1, 1)), "other");
}

/// A node with two sessions of its own, which a test can register wherever it likes: all that comes
/// to the played one goes on to it.
struct Holding {
    node: Gateway,
    behind: Behind,
    /// The ids of the sessions, and the processes of their servers.
    held: Vec<(String, u32)>,
}

impl Holding {
    fn start() -> Self {
        let hears = PlayedCoordinator::start();
        let own = json!({"id": "n", "public": true});
        let node = settings::node(hears.port(), own, json!({"A": servers::counter()}));
        let node = Gateway::start_with(&settings::roomy(node));
        let behind = hears.registered(&node, None);
        let mut held: Vec<(String, u32)> = Vec::new();
        for _ in 0..2 {
            let pid = node.client("/mcp/A").initialize().whoami("whoami").pid;
            let page = behind.send(&Request::get("/cluster/bindings")).expect(200).json();
            let ids = page["bindings"].as_array().unwrap().iter().map(|one| &one["session"]);
            let mut new = ids
                .filter_map(|id| id.as_str())
                .filter(|id| held.iter().all(|(known, _)| known != id));
            held.push((new.next().expect("its session").to_owned(), pid));
        }
        Self { node, behind, held }
    }

    /// The node under this id, at another address.
    fn played(&self, id: &str) -> PlayedNode {
        PlayedNode::before(id, None, self.behind.clone())
    }

    /// A node that says it has opened the first session long ago.
    fn elder(&self, id: &str) -> FakeNode {
        let held = json!({"session": self.held[0].0, "server": "A", "openedAt": 1});
        Says::default().held(move |_| json!({"bindings": [held.clone()]})).start(id)
    }

    /// The first session's server has ended, and the other one's has not.
    #[track_caller]
    fn has_lost_the_first(&self) {
        let [(_, lost), (_, kept)] = [&self.held[0], &self.held[1]];
        eventually("the lost session's server ends", || (!process::runs(*lost)).then_some(()));
        assert!(process::runs(*kept));
        let instances = process::servers(self.node.pid());
        assert!(instances.contains(kept) && !instances.contains(lost), "{instances:?}");
    }
}

fn register(coordinator: &Gateway, node: &PlayedNode) {
    let registration = node.registration(json!({"servers": ["A"]}));
    node.send(coordinator, "register", &registration).expect(200);
}

#[test]
fn what_another_node_has_by_now_is_closed_at_the_node_that_registers_again() {
    // Under an id of its own, or as a new start of a node that has signed off.
    for id in ["late", "gone"] {
        let (coordinator, holding) = (coordinator(), Holding::start());
        let gone = Says::default().start("gone");
        gone.register(&coordinator, json!(["A"]), json!({})).expect(200);
        gone.deregister(&coordinator).expect(200);
        let elder = holding.elder("elder");
        elder.register(&coordinator, json!(["A"]), json!({})).expect(200);
        let late = holding.played(id);
        register(&coordinator, &late);
        holding.has_lost_the_first();
        assert_eq!(holder(&coordinator, &holding.held[0].0), "elder");
        assert_eq!(holder(&coordinator, &holding.held[1].0), id);
        // Once more, as after a coordinator that was away for a moment.
        register(&coordinator, &late);
        assert!(process::runs(holding.held[1].1));
        assert!(elder.seen().iter().all(|asked| asked.method != "DELETE"));
    }
}

#[test]
fn what_an_older_claim_takes_from_a_node_that_has_left_is_closed_there() {
    let (coordinator, holding) = (coordinator(), Holding::start());
    let left = holding.played("left");
    register(&coordinator, &left);
    assert_eq!(holder(&coordinator, &holding.held[0].0), "left");
    left.send(&coordinator, "deregister", &left.heartbeat(json!({}))).expect(200);
    let elder = holding.elder("elder");
    elder.register(&coordinator, json!(["A"]), json!({})).expect(200);
    holding.has_lost_the_first();
    assert_eq!(holder(&coordinator, &holding.held[0].0), "elder");
}

#[test]
fn a_report_beyond_its_bounds_is_refused_by_its_name() {
    let coordinator = coordinator();
    let node = Says::default().start("node-1");
    let long = "x".repeat(5000);
    let many: Vec<String> = (0..1001).map(|number| format!("s{number}")).collect();
    let labels: Value = (0..65).map(|n| (n.to_string(), Value::from("x"))).collect();
    for (what, servers, more) in [
        ("zone", json!(["A"]), json!({"zone": long})),
        ("zone", json!(["A"]), json!({"zone": "a\u{1b}[2J"})),
        ("version", json!(["A"]), json!({"version": long})),
        ("url", json!(["A"]), json!({"url": format!("http://127.0.0.1:1/{long}")})),
        ("incarnation", json!(["A"]), json!({"incarnation": long})),
        ("protocol.mcp", json!(["A"]), json!({"protocol": {"seam": 1, "mcp": long}})),
        ("label", json!(["A"]), json!({"labels": labels})),
        ("label", json!(["A"]), json!({"labels": {"a": long}})),
        ("servers", json!(many), json!({})),
        ("digest", json!([{"name": "A", "digest": long}]), json!({})),
        ("passthrough", json!([{"name": "A", "passthrough": many}]), json!({})),
        ("load.instances", json!(["A"]), json!({"load": {"instances": {long.clone(): 1}}})),
    ] {
        let response = node.register(&coordinator, servers, more).expect(400).json();
        let text = response["message"].as_str().unwrap();
        assert!(text.contains(what) && text.len() < 500, "{what}: {text}");
    }
    node.register(&coordinator, json!(["A"]), json!({})).expect(200);
    for more in [json!({"servers": many}), json!({"load": {"instances": {long: 1}}})] {
        node.heartbeat(&coordinator, more).expect(400);
    }
    node.heartbeat(&coordinator, json!({"servers": ["A", "B"]})).expect(200);
    let replicas = coordinator.data("/api/cluster/servers/B/replicas");
    assert_eq!(replicas[0]["nodeId"], "node-1");
}

#[test]
fn the_catalogs_of_a_node_keep_to_a_bound_together() {
    let coordinator = coordinator();
    let tool = json!({"name": "t", "description": "x".repeat(20 << 20), "inputSchema": {}});
    let large = json!({"initialize": {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
        "serverInfo": {"name": "fake", "version": "1"}}, "tools": [tool]});
    let entries = vec!["{}"; 2_000_000].join(",");
    let many = format!(r#"{{"initialize": {}, "tools": [{entries}]}}"#, large["initialize"]);
    for (id, catalog) in [("large", large.to_string()), ("many", many)] {
        let node = Says::default().catalog(catalog.into_bytes()).start(id);
        let names: Vec<String> = (0..12).map(|number| format!("{id}{number}")).collect();
        let before = process::resident(coordinator.pid());
        node.register(&coordinator, json!(names), json!({})).expect(200);
        let _ = coordinator.client(&format!("/mcp/{id}0")).try_initialize();
        let session = coordinator.client("/mcp").initialize();
        let _ = session.answer("tools/list", json!({}));
        let asked = || {
            let seen = node.seen().into_iter();
            seen.filter(|asked| asked.path.contains("/catalog")).count()
        };
        eventually("every catalog is asked for", || (asked() >= names.len()).then_some(()));
        if id == "large" {
            coordinator.wait_for_log("the server's lists are not read");
        }
        let grown = process::resident(coordinator.pid()).saturating_sub(before) >> 20;
        assert!(grown < 260, "{id}: {grown} MiB");
        node.deregister(&coordinator).expect(200);
    }
}

#[test]
fn a_level_that_a_node_claims_is_no_way_into_another_nodes_messages() {
    let coordinator = coordinator();
    for (level, restored) in [(r#""debug""#, true), (r#""debug", "injected": 1"#, false)] {
        let held = json!({
            "session": "", "server": "A", "openedAt": 1, "level": level,
        });
        let known: Arc<std::sync::Mutex<String>> = Arc::default();
        let told = Arc::clone(&known);
        let first = Says::default()
            .held(move |_| {
                let session = json!({"session": *told.lock().unwrap()});
                json!({"bindings": [settings::merged(held.clone(), session)]})
            })
            .start("first");
        first.register(&coordinator, json!(["A"]), json!({})).expect(200);
        let session = coordinator.client("/mcp/A").initialize();
        let opened = first.wait_for("the open", |asked| asked.header("mooring-open").is_some());
        *known.lock().unwrap() = opened.header("mooring-session").unwrap().to_owned();
        first.register(&coordinator, json!(["A"]), json!({})).expect(200);
        first.deregister(&coordinator).expect(200);
        let second = Says::default().start("second");
        second.register(&coordinator, json!(["A"]), json!({})).expect(200);
        let _ = session.answer("tools/list", json!({}));
        second.wait_for("the list", |asked| asked.rpc() == "tools/list");
        let seen = second.seen();
        let levels: Vec<_> = seen.iter().filter(|it| it.rpc() == "logging/setLevel").collect();
        assert_eq!(levels.len(), usize::from(restored), "{levels:?}");
        assert!(levels.iter().all(|asked| asked.json()["params"]["level"] == "debug"));
        second.deregister(&coordinator).expect(200);
    }
}
