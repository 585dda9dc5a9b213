//! How many connections there may be, which one goes for a new one, and what is answered when none
//! can go.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use mooring_tests::{
    Cluster, Connection, Gateway, Request, eventually, process, servers, settings,
};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};
use serde_json::{Value, json};

fn gateway(limits: Value) -> Gateway {
    Gateway::start_with(&json!({
        "mcpServers": {"counter": servers::counter(), "notes": servers::notes()},
        "systemConfig": {"limits": limits},
    }))
}

fn from(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
}

/// Looks come once a second; after two of them a connection is older than one that comes then.
const TWO_LOOKS: Duration = Duration::from_millis(2200);

fn silent(gateway: &Gateway, count: usize, last: u8) -> Vec<Connection> {
    (0..count).map(|_| Connection::open_from(from(last), gateway.address())).collect()
}

/// A metric without labels.
fn metric(gateway: &Gateway, name: &str) -> u64 {
    let text = gateway.get("/metrics").expect(200).text();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("mooring_{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

#[test]
fn the_longest_silent_connection_goes_for_a_new_one() {
    let gateway = gateway(json!({"connections": 20}));
    let older = silent(&gateway, 10, 1);
    std::thread::sleep(TWO_LOOKS);
    let newer = silent(&gateway, 20, 1);
    eventually("the older ones are closed", || {
        older.iter().all(Connection::is_closed).then_some(())
    });
    assert!(newer.iter().all(|connection| !connection.is_closed()));
    // A request finds room at once.
    gateway.client("/mcp").initialize().request("tools/list", json!({}));
    assert!(metric(&gateway, "connections_evicted_total") >= 11);
    assert!(metric(&gateway, "connections") <= 22);
}

#[test]
fn a_connection_in_use_stays() {
    let gateway = gateway(json!({"connections": 10}));
    let session = gateway.client("/mcp").initialize();
    let mut stream = session.listen();
    let idle = silent(&gateway, 30, 1);
    eventually("silent ones are closed", || idle[0].is_closed().then_some(()));
    session.request("tools/list", json!({}));
    // The keep-alive comes every 15 s; a message comes at once.
    session.call("notes-add_note", json!({"text": "x"}));
    drop(idle);
    stream.message(|message| message["method"] == "notifications/resources/list_changed");
}

#[test]
fn an_address_has_a_bound_of_its_own() {
    let gateway = gateway(json!({"connectionsPerAddress": 5}));
    let older = silent(&gateway, 2, 3);
    let many = silent(&gateway, 12, 2);
    eventually("five of that address are left", || {
        (many.iter().filter(|connection| connection.is_closed()).count() == 7).then_some(())
    });
    assert!(older.iter().all(|connection| !connection.is_closed()));
    gateway.get("/health").expect(200);
}

#[test]
fn health_is_answered_and_the_rest_is_told_why_when_all_are_in_use() {
    let gateway = gateway(json!({"connections": 4}));
    let stream = || Request::get("/sse").header("Accept", "text/event-stream");
    let streams: Vec<_> = (0..4).map(|_| stream().open(gateway.address())).collect();
    for path in ["/health", "/livez", "/readyz"] {
        for _ in 0..40 {
            gateway.get(path).expect(200);
        }
    }
    for path in ["/mcp", "/sse", "/api/cluster/status", "/metrics"] {
        let refused = Request::get(path).send(gateway.address());
        assert_eq!(refused.status, 503, "{path}");
        assert!(refused.header("retry-after").is_some() && refused.text().contains("limits."));
    }
    // Silent ones do not keep them out.
    let idle = silent(&gateway, 200, 2);
    gateway.get("/health").expect(200);
    drop((idle, streams));
    eventually("it comes back", || {
        let listed = Request::get("/api/cluster/status").send(gateway.address());
        (listed.status == 200).then_some(())
    });
    assert!(metric(&gateway, "connections_refused_total") > 0);
    let lines = gateway.log().matches("refused a connection").count();
    assert!((1..=2).contains(&lines), "{lines}");
}

#[test]
fn the_cluster_holds_together_while_strangers_have_all_connections() {
    let few = json!({"systemConfig": {"limits": {"connections": 3}}});
    let coordinator =
        Gateway::start_with(&settings::merged(settings::coordinator(json!({})), few.clone()));
    let mut cluster = Cluster { coordinator, nodes: Vec::new() };
    cluster.add("a", json!({"counter": servers::counter()}));
    cluster.wait_for_active(1);
    let streams = |gateway: &Gateway| -> Vec<_> {
        let stream = || Request::get("/sse").header("Accept", "text/event-stream");
        (0..3).map(|_| stream().open(gateway.address())).collect()
    };
    let strangers = streams(&cluster.coordinator);
    Request::get("/api/cluster/status").send(cluster.coordinator.address()).expect(503);
    let of_node = json!({"notes": servers::notes()});
    let node =
        settings::node(cluster.coordinator.port(), json!({"id": "b", "public": true}), of_node);
    let node = Gateway::start_with(&settings::merged(node, few));
    eventually("the node is registered", || node.log().contains("registered with").then_some(()));
    drop(strangers);
    eventually("it comes back", || {
        let listed = Request::get("/api/cluster/status").send(cluster.coordinator.address());
        (listed.status == 200).then_some(())
    });
    // The node's connections are all taken, and the coordinator's introduce themselves all the same.
    let strangers = streams(&node);
    Request::get("/metrics").send(node.address()).expect(503);
    let link = Request::get("/cluster/link").send(node.address());
    assert!((400..500).contains(&link.status), "{}: {}", link.status, link.text());
    let session = cluster.client("/mcp/notes").initialize();
    session.call("add_note", json!({"text": "x"}));
    drop(strangers);
}

#[test]
fn a_head_that_does_not_come_to_its_end_is_408() {
    let gateway = gateway(json!({"headTimeout": 1000}));
    let mut silent = Connection::open(gateway.address());
    for begin in ["G", "POST /mcp HTTP/1.1\r\nHost: localhost\r\n", "GET /health HTTP/1.1\r\n"] {
        let (mut slow, began) = (Connection::open(gateway.address()), Instant::now());
        slow.send_raw(begin.as_bytes());
        let answer = eventually("it is refused", || {
            slow.send_raw(b"x");
            std::thread::sleep(Duration::from_millis(100));
            slow.is_readable().then(|| slow.read_head())
        });
        assert_eq!(answer.unwrap().status, 408, "{begin:?}");
        assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
    }
    // Between requests there is no head to wait for.
    assert_eq!(silent.exchange(&Request::get("/health")).status, 200);
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(silent.exchange(&Request::get("/health")).status, 200);
    assert_eq!(metric(&gateway, "heads_late_total"), 3);
}

/// The soft limit of open files of a process.
fn soft_limit(pid: u32) -> u64 {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).unwrap().parse().unwrap_or(u64::MAX)
}

#[test]
fn the_gateway_raises_its_descriptors_and_its_children_get_the_old_number() {
    // Each test is a process of its own; the gateway inherits this.
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(700), maximum }).unwrap();
    let mut few = servers::counter_named("few");
    few["rlimits"] = json!({"files": 64});
    let gateway = Gateway::start_with(&json!({
        "mcpServers": {"counter": servers::counter(), "few": few},
    }));
    assert_eq!(soft_limit(gateway.pid()), maximum.unwrap_or(u64::MAX));
    for (path, expect) in [("/mcp/counter", 700), ("/mcp/few", 64)] {
        let session = gateway.client(path).initialize();
        assert_eq!(soft_limit(session.whoami("whoami").pid), expect, "{path}");
    }
}

#[test]
fn running_out_of_descriptors_closes_silent_connections_and_does_not_flood_the_log() {
    let gateway = gateway(json!({}));
    gateway.wait_until_discovered(&["counter", "notes"]);
    let pid = Pid::from_raw(gateway.pid().cast_signed());
    let open = process::descriptors(gateway.pid()) as u64 + 20;
    let limit = Rlimit { current: Some(open), maximum: Some(open) };
    prlimit(pid, Resource::Nofile, limit).unwrap();
    let mut idle = silent(&gateway, 60, 1);
    eventually("there is room again", || {
        let health = Request::get("/health").try_send(gateway.address());
        // They come faster than they go.
        idle.extend(silent(&gateway, 5, 1));
        health.is_ok_and(|health| health.status == 200).then_some(())
    });
    std::thread::sleep(Duration::from_secs(1));
    let lines = gateway.log().matches("cannot accept").count();
    assert!((1..=2).contains(&lines), "{lines}");
}

#[test]
fn a_coordinator_has_as_many_connections_to_its_node_as_it_needs() {
    let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    let node =
        settings::node(coordinator.port(), json!({"id": "n"}), json!({"clock": servers::clock()}));
    let limits = json!({"systemConfig": {"limits": {"connectionsPerAddress": 3}}});
    let node = Gateway::start_with(&settings::merged(node, limits));
    let cluster = Cluster { coordinator, nodes: vec![node] };
    cluster.wait_for_active(1);
    let sessions: Vec<_> = (0..8).map(|_| cluster.client("/mcp/clock").initialize()).collect();
    let streams: Vec<_> = sessions.iter().map(|session| session.listen()).collect();
    for session in &sessions {
        session.call("sleep", json!({"ms": 1}));
    }
    drop(streams);
    assert_eq!(metric(&cluster.nodes[0], "connections_refused_total"), 0);
}
