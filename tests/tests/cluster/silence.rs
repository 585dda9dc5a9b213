//! Nodes that accept connections and are silent, and what only looks like that.

use std::time::{Duration, Instant};

use mooring_tests::relay::{Fault, Relay};
use mooring_tests::{
    Cluster, Gateway, OverSse, Port, Session, Setup, eventually, servers, settings,
};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Far below the default nodeTimeout of 15 s, with time to spare for a machine under load: alone it
/// takes less than 3 s.
const SOON: Duration = Duration::from_secs(6);
/// A connection over which nothing came for so long is asked before a request goes over it.
const QUIET: Duration = Duration::from_millis(20);
/// A lease that a test can outlast.
const LEASE: Duration = Duration::from_secs(2);

/// A node `a` behind two relays, one for what the coordinator sends to it and one for what it sends,
/// and a node `b` with the same server.
struct BehindRelays {
    cluster: Cluster,
    requests: Relay,
    heartbeats: Relay,
}

impl BehindRelays {
    fn start(cluster: Value) -> Self {
        let coordinator = Gateway::start_with(&settings::coordinator(cluster));
        let port = Port::reserve();
        let (requests, heartbeats) = (Relay::to(port.number()), Relay::to(coordinator.port()));
        let node = json!({
            "id": "a", "advertiseUrl": requests.url(), "coordinatorUrl": heartbeats.url(),
        });
        let servers = json!({"counter": servers::counter_named("a")});
        let node = settings::roomy(settings::node(coordinator.port(), node, servers));
        let node = Setup::new(&node).port(port).start();
        let mut cluster = Cluster { coordinator, nodes: vec![node] };
        cluster.add("b", json!({"counter": servers::counter_named("b")}));
        cluster.wait_for_active(2);
        Self { cluster, requests, heartbeats }
    }
}

fn soon<T>(what: &str, act: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let out = act();
    assert!(start.elapsed() < SOON, "{what} takes {:?}", start.elapsed());
    out
}

/// `count` answers, which must be one of these.
fn count_is(session: &Session, expected: &[i64]) {
    let count = session.count("count");
    assert!(expected.contains(&count), "{count} and not one of {expected:?}");
}

#[test]
fn nobody_waits_for_a_frozen_node() {
    let cluster = Cluster::of_two_equal_nodes(json!({}));
    let [listing, safe, idle, told] = [(); 4].map(|()| cluster.session_at("a"));
    for session in [&listing, &safe, &idle, &told] {
        assert_eq!(session.count("count"), 1);
    }
    cluster.nodes[0].signal(Signal::STOP);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                soon("a new session", || {
                    let session = cluster.client("/mcp/counter").initialize();
                    assert_eq!(session.whoami("whoami").name, "b");
                });
            });
        }
        scope.spawn(|| soon("a list", || assert!(listing.tools().contains(&"count".to_owned()))));
        scope.spawn(|| soon("a call", || assert_eq!(safe.whoami("whoami").name, "b")));
        // What no server has read is no call that may have run.
        scope.spawn(|| soon("a call that is not repeated", || assert_eq!(idle.count("count"), 1)));
        scope.spawn(|| {
            soon("a notification", || {
                let sent = told.notify("notifications/roots/list_changed", json!({}));
                assert_eq!(sent.status, 202, "{}", sent.text());
            });
        });
    });
    cluster.coordinator.wait_for_log("the node is silent");
    assert_eq!(cluster.node("a").unwrap()["silent"], true);
    cluster.nodes[0].signal(Signal::CONT);
    cluster.coordinator.wait_for_log("the node answers again");
    assert_eq!((idle.count("count"), idle.whoami("whoami").name.as_str()), (2, "b"));
    eventually("new sessions reach it", || {
        let session = cluster.client("/mcp/counter").initialize();
        (session.whoami("whoami").name == "a").then_some(())
    });
}

#[test]
fn a_list_of_all_servers_does_not_wait_for_a_frozen_node() {
    let cluster = Cluster::of_two_equal_nodes(json!({}));
    let sessions: Vec<Session> = (0..8).map(|_| cluster.client("/mcp").initialize()).collect();
    let at_a = |session: &&Session| session.whoami("counter-whoami").name == "a";
    let session = sessions.iter().find(at_a).expect("a session at a");
    cluster.nodes[0].signal(Signal::STOP);
    let tools = soon("a list", || session.tools());
    cluster.nodes[0].signal(Signal::CONT);
    assert!(tools.contains(&"counter-count".to_owned()), "{tools:?}");
}

#[test]
fn a_node_that_is_frozen_for_a_moment_keeps_its_sessions() {
    let cluster = Cluster::of_two_equal_nodes(json!({}));
    let sessions: Vec<Session> = (0..4).map(|_| cluster.session_at("a")).collect();
    for round in 1..=4 {
        for session in &sessions {
            assert_eq!(session.count("count"), round);
        }
        cluster.nodes[0].signal(Signal::STOP);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(700));
                cluster.nodes[0].signal(Signal::CONT);
            });
            // Meanwhile, requests wait for it.
            for session in &sessions {
                scope.spawn(|| assert_eq!(session.whoami("whoami").name, "a"));
            }
        });
    }
    assert!(!cluster.coordinator.log().contains("the node is silent"));
}

#[test]
fn a_long_call_outlasts_the_silence_of_its_node() {
    let mut cluster = Cluster::of_two_equal_nodes(json!({}));
    cluster.add("c", json!({"clock": servers::clock()}));
    cluster.wait_for_active(3);
    let session = cluster.client("/mcp/clock").initialize();
    std::thread::scope(|scope| {
        // The head comes when the runner has said that it has the call.
        let (mut stream, id) = session.start("sleep", json!({"ms": 6000}), json!({}));
        let answer = scope.spawn(move || stream.message(|message| message["id"] == id));
        cluster.nodes[2].signal(Signal::STOP);
        let refused = cluster.client("/mcp/clock").try_initialize();
        assert!(refused.json()["error"].is_object(), "{}", refused.text());
        cluster.coordinator.wait_for_log("the node is silent");
        cluster.nodes[2].signal(Signal::CONT);
        let answer = answer.join().unwrap();
        assert_eq!(answer["result"]["structuredContent"]["ms"], 6000, "{answer}");
    });
}

#[test]
fn what_accepts_and_closes_costs_one_error_a_session_at_most() {
    let relayed = BehindRelays::start(json!({}));
    let sessions: Vec<Session> = (0..4).map(|_| relayed.cluster.session_at("a")).collect();
    for session in &sessions {
        assert_eq!(session.count("count"), 1);
    }
    relayed.requests.fault(Fault::Closing);
    std::thread::scope(|scope| {
        for session in &sessions {
            scope.spawn(|| {
                soon("a call that is not repeated", || {
                    let first = session.answer("tools/call", json!({"name": "count"}));
                    count_is(session, if first["result"].is_object() { &[2] } else { &[1] });
                });
                assert_eq!(session.whoami("whoami").name, "b");
            });
        }
    });
}

/// Of a node that lives, no session leaves since one connection has failed.
#[test]
fn one_connection_that_fails_moves_no_session() {
    let relayed = BehindRelays::start(json!({}));
    let session = relayed.cluster.session_at("a");
    for count in 1..=5 {
        assert_eq!(session.count("count"), count);
        relayed.requests.fault(Fault::ClosingOnce);
    }
    assert_eq!(session.whoami("whoami").name, "a");
    relayed.requests.fault(Fault::None);
}

/// A node that answers questions and breaks each call: the call goes to another node.
#[test]
fn a_safe_call_that_breaks_twice_at_its_node_goes_on_at_another() {
    let relayed = BehindRelays::start(json!({}));
    let session = relayed.cluster.session_at("a");
    relayed.requests.fault(Fault::BreakingCalls);
    assert_eq!(session.whoami("whoami").name, "b");
    assert_eq!(session.count("count"), 1);
    relayed.requests.fault(Fault::None);
}

#[test]
fn a_slow_way_is_no_silence() {
    let relayed = BehindRelays::start(json!({}));
    let session = relayed.cluster.session_at("a");
    relayed.requests.fault(Fault::Slow(Duration::from_millis(250)));
    for round in 1..=3 {
        assert_eq!(session.count("count"), round);
    }
    assert_eq!(session.whoami("whoami").name, "a");
    relayed.requests.fault(Fault::None);
    let log = relayed.cluster.coordinator.log();
    assert!(!log.contains("the node is silent") && !log.contains("unhealthy"), "{log}");
}

#[test]
fn a_dead_way_to_a_node_that_sends_heartbeats_is_silence() {
    let relayed = BehindRelays::start(json!({}));
    let session = relayed.cluster.session_at("a");
    assert_eq!(session.count("count"), 1);
    relayed.requests.fault(Fault::Frozen);
    std::thread::sleep(QUIET);
    soon("a call that is not repeated", || assert_eq!(session.count("count"), 1));
    assert_eq!(session.whoami("whoami").name, "b");
    relayed.requests.fault(Fault::None);
    relayed.cluster.coordinator.wait_for_log("the node answers again");
    assert_eq!((session.count("count"), session.whoami("whoami").name.as_str()), (2, "b"));
}

#[test]
fn a_node_that_answers_is_not_given_up_because_its_heartbeats_are_lost() {
    let lease = json!({"coordinator": {"nodeTimeout": LEASE.as_millis() as u64}});
    let relayed = BehindRelays::start(lease);
    let session = relayed.cluster.session_at("a");
    relayed.heartbeats.fault(Fault::Frozen);
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < LEASE * 3 {
        count += 1;
        assert_eq!(session.count("count"), count);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(session.whoami("whoami").name, "a");
    assert!(!relayed.cluster.coordinator.log().contains("unhealthy"));
    relayed.heartbeats.fault(Fault::None);
}

#[test]
#[ignore = "long: a minute and a half in which no heartbeat arrives"]
fn streams_go_on_at_a_node_whose_heartbeats_alone_are_lost() {
    let relayed = BehindRelays::start(json!({}));
    let mut clients: Vec<OverSse> = (0..6)
        .map(|_| OverSse::open(relayed.cluster.coordinator.address(), "/sse/counter"))
        .collect();
    let call = json!({"name": "count", "arguments": {}});
    for client in &mut clients {
        client.begin();
        client.request("tools/call", call.clone());
    }
    relayed.heartbeats.fault(Fault::Frozen);
    std::thread::sleep(Duration::from_secs(90));
    for client in &mut clients {
        let answer = client.request("tools/call", call.clone());
        assert_eq!(answer["structuredContent"]["value"], 2, "{answer}");
    }
    relayed.heartbeats.fault(Fault::None);
}

#[test]
fn a_coordinator_that_stood_still_judges_nobody() {
    let lease = json!({"coordinator": {"nodeTimeout": LEASE.as_millis() as u64}});
    let mut cluster = Cluster::of_two_equal_nodes(lease);
    cluster.add("c", json!({"clock": servers::clock()}));
    cluster.wait_for_active(3);
    let clock = cluster.client("/mcp/clock").initialize();
    let sessions = ["a", "b"].map(|node| (cluster.session_at(node), node));
    std::thread::scope(|scope| {
        let call = scope.spawn(|| clock.call("sleep", json!({"ms": 6000})));
        eventually("the call is under way", || {
            let now = clock.call("now", json!({}));
            (now["structuredContent"]["waiting"] == 1).then_some(())
        });
        cluster.coordinator.signal(Signal::STOP);
        std::thread::sleep(LEASE * 2);
        cluster.coordinator.signal(Signal::CONT);
        for (session, node) in &sessions {
            assert_eq!(session.whoami("whoami").name, *node);
        }
        assert_eq!(call.join().unwrap()["structuredContent"]["ms"], 6000);
    });
    cluster.coordinator.wait_for_log("this process stood still");
    let log = cluster.coordinator.log();
    assert!(!log.contains("unhealthy") && !log.contains("is silent"), "{log}");
}
