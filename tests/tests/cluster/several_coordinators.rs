//! Several coordinators over one Redis: a session goes on at any of them, whatever happens to the
//! others, to the nodes and to Redis.

use std::time::{Duration, Instant};

use mooring_tests::{
    Gateway, Pair, RedisServer, Request, Session, Setup, eventually, servers, settings,
};
use rustix::process::Signal;
use serde_json::json;

/// Sessions at both nodes, 20 begun at each coordinator, each counted once.
fn sessions(pair: &Pair, path: &str, header: bool) -> Vec<(usize, Session, u32)> {
    let begun = (0..40).map(|number| {
        let (at, node) = (number % 2, if number % 4 < 2 { "a" } else { "b" });
        let mut client = pair.client(at, path);
        if header {
            client = client.header("X-MCPHub-Node", node);
        }
        let session = client.initialize();
        assert_eq!(session.count("count"), 1);
        let pid = session.whoami("whoami").pid;
        (at, session, pid)
    });
    begun.collect()
}

/// All of them are in the process that they were in, by way of the other coordinator.
fn go_on(pair: &Pair, path: &str, sessions: &[(usize, Session, u32)], count: i64) {
    let mut same = 0;
    for (at, session, pid) in sessions {
        let other = pair.elsewhere(1 - at, path, session);
        let is_same = other.whoami("whoami").pid == *pid && other.count("count") == count;
        same += usize::from(is_same);
    }
    assert_eq!(same, sessions.len(), "sessions that go on in the same process");
}

#[test]
fn nodes_that_register_with_one_coordinator_are_seen_by_all() {
    let Some(mut pair) = Pair::start("several coordinators", &json!({})) else { return };
    pair.nodes[0].terminate();
    pair.wait_for(1);
    pair.nodes[0].start();
    pair.wait_for(2);
    pair.nodes[1].kill9();
    pair.nodes[1].start();
    pair.wait_for(2);
    for at in [0, 1] {
        assert_eq!(pair.client(at, "/mcp/counter").initialize().count("count"), 1);
    }
}

#[test]
fn sessions_reach_the_same_process_through_the_other_coordinator() {
    for strategy in ["consistent-hash", "header"] {
        let cluster = json!({"stickySession": {"strategy": strategy}});
        let Some(pair) = Pair::start("several coordinators", &cluster) else { return };
        let sessions = sessions(&pair, "/mcp/counter", strategy == "header");
        go_on(&pair, "/mcp/counter", &sessions, 2);
        // A binding is said to be the same by both, also by one that has not served the session.
        let new = pair.client(0, "/mcp/counter").initialize();
        for (_, session, _) in sessions.iter().take(4).chain([&(0, new, 0)]) {
            let [one, other] = [0, 1].map(|at| {
                let path = format!("/api/cluster/sessions/{}", session.id);
                pair.coordinators[at].data(&path)["bindings"][0]["nodeId"].clone()
            });
            assert!(one.is_string() && one == other, "{one} {other}");
        }
        // And back.
        for (at, session, pid) in &sessions {
            let back = pair.elsewhere(*at, "/mcp/counter", session);
            assert_eq!((back.whoami("whoami").pid, back.count("count")), (*pid, 3));
        }
    }
}

#[test]
fn sessions_that_have_moved_are_at_one_node_for_both_coordinators() {
    let Some(mut pair) = Pair::start("several coordinators", &json!({})) else { return };
    let sessions = sessions(&pair, "/mcp/counter", false);
    let before: Vec<u32> = sessions.iter().map(|(_, _, pid)| *pid).collect();
    pair.nodes[0].kill9();
    // Each goes on at the other coordinator first, which moves it.
    let moved: Vec<(usize, Session, u32)> = sessions
        .into_iter()
        .map(|(at, session, _)| {
            let other = pair.elsewhere(1 - at, "/mcp/counter", &session);
            let who = other.whoami("whoami");
            assert_eq!(who.name, "b");
            (at, session, who.pid)
        })
        .collect();
    assert!(moved.iter().zip(&before).any(|((_, _, pid), before)| pid != before));
    pair.nodes[0].start();
    pair.wait_for(2);
    for (at, session, pid) in &moved {
        let back = pair.elsewhere(*at, "/mcp/counter", session);
        assert_eq!(back.whoami("whoami").pid, *pid);
    }
}

#[test]
fn a_session_that_ends_at_one_coordinator_is_unknown_to_the_other() {
    for path in ["/mcp/counter", "/mcp"] {
        let Some(pair) = Pair::start("several coordinators", &json!({})) else { return };
        let tool = if path == "/mcp" { "counter-count" } else { "count" };
        let session = pair.client(0, path).initialize();
        session.count(tool);
        let known = pair.elsewhere(1, path, &session);
        assert_eq!(known.count(tool), 2);
        let other = pair.client(0, path).initialize();
        other.count(tool);
        for session in [&session, &other] {
            assert_eq!(pair.elsewhere(0, path, session).delete().status, 200);
        }
        // One that is not known there is asked for.
        let there = pair.elsewhere(1, path, &other);
        let answer = there.try_request("tools/call", json!({"name": tool, "arguments": {}}));
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
        let there = pair.elsewhere(1, path, &session);
        eventually("the end is heard", || {
            (there.try_request("ping", json!({})).status == 404).then_some(())
        });
    }
}

#[test]
fn large_parameters_go_along() {
    let Some(pair) = Pair::start("several coordinators", &json!({})) else { return };
    let params = json!({
        "protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": {"name": "x".repeat(5000), "version": "1"},
    });
    let session = pair.client(0, "/mcp/counter").params(params).initialize();
    // Its second message comes to the other coordinator.
    let other = pair.elsewhere(1, "/mcp/counter", &session);
    assert_eq!(other.count("count"), 1);
    assert_eq!(pair.elsewhere(0, "/mcp/counter", &session).count("count"), 2);
}

#[test]
fn a_new_coordinator_serves_the_sessions_of_the_others_from_its_first_request() {
    let Some(mut pair) = Pair::start("several coordinators", &json!({})) else { return };
    let sessions = sessions(&pair, "/mcp/counter", false);
    // As in a rolling update: one is replaced, then the other, each with an empty data folder.
    for at in [0, 1] {
        let store = json!({"store": {"type": "redis", "url": pair.redis.url()}});
        let new = Setup::new(&settings::coordinator(store)).start();
        pair.coordinators[at] = new;
        let count = i64::try_from(at).unwrap() + 2;
        for (_, session, pid) in &sessions {
            let there = pair.elsewhere(at, "/mcp/counter", session);
            assert_eq!((there.whoami("whoami").pid, there.count("count")), (*pid, count));
        }
    }
}

#[test]
fn redis_may_be_killed_and_sessions_go_on() {
    let Some(mut pair) = Pair::start("several coordinators", &json!({})) else { return };
    let sessions = sessions(&pair, "/mcp/counter", false);
    pair.redis.kill9();
    pair.wait_until_store("stale since");
    let ready = pair.coordinators[0].get("/readyz").expect(200).text();
    assert!(ready.contains("store: stale since"), "{ready}");
    let up = || pair.coordinators[0].get("/metrics").text();
    assert!(up().contains("mooring_store_up 0"), "{}", up());
    for (at, session, pid) in &sessions {
        let start = Instant::now();
        let same = pair.elsewhere(*at, "/mcp/counter", session);
        assert_eq!((same.whoami("whoami").pid, same.count("count")), (*pid, 2));
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }
    // New ones are bound by what each coordinator knows.
    let new = pair.client(0, "/mcp/counter").initialize();
    assert_eq!(new.count("count"), 1);
    let pid = new.whoami("whoami").pid;
    // It comes back empty, and is filled by those who know.
    pair.redis.start_again();
    pair.wait_until_store("fresh");
    assert!(up().contains("mooring_store_up 1"), "{}", up());
    go_on(&pair, "/mcp/counter", &sessions, 3);
    let there = pair.elsewhere(1, "/mcp/counter", &new);
    assert_eq!((there.whoami("whoami").pid, there.count("count")), (pid, 2));
    pair.wait_for(2);
}

#[test]
fn redis_may_be_emptied_and_is_filled_again() {
    let Some(pair) = Pair::start("several coordinators", &json!({})) else { return };
    let sessions = sessions(&pair, "/mcp/counter", false);
    let ended = pair.client(0, "/mcp/counter").initialize();
    ended.count("count");
    assert_eq!(ended.delete().status, 200);
    pair.redis.say("FLUSHALL");
    for coordinator in &pair.coordinators {
        eventually("it is noticed", || {
            let metrics = coordinator.get("/metrics").text();
            metrics.contains("mooring_store_emptied_total 1").then_some(())
        });
    }
    pair.wait_until_store("fresh");
    go_on(&pair, "/mcp/counter", &sessions, 2);
    let there = pair.elsewhere(1, "/mcp/counter", &ended);
    assert_eq!(there.try_request("ping", json!({})).status, 404);
    // A coordinator that begins now knows them from the store.
    eventually("the bindings are in the store again", || {
        let keys = pair.redis.say("KEYS mooring:b:*").matches("mooring:b:").count();
        (keys >= sessions.len()).then_some(())
    });
}

#[test]
fn redis_may_stand_still() {
    let Some(pair) = Pair::start("several coordinators", &json!({})) else { return };
    let sessions = sessions(&pair, "/mcp/counter", false);
    pair.redis.signal(Signal::STOP);
    let start = Instant::now();
    for (at, session, pid) in &sessions {
        let same = pair.elsewhere(*at, "/mcp/counter", session);
        assert_eq!((same.whoami("whoami").pid, same.count("count")), (*pid, 2));
    }
    assert_eq!(pair.client(0, "/mcp/counter").initialize().count("count"), 1);
    // One answer is waited for, and then none.
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    pair.wait_until_store("stale since");
    pair.redis.signal(Signal::CONT);
    pair.wait_until_store("fresh");
    go_on(&pair, "/mcp/counter", &sessions, 3);
}

#[test]
fn what_others_write_into_redis_harms_nothing() {
    let Some(pair) = Pair::start("several coordinators", &json!({})) else { return };
    let session = pair.client(0, "/mcp/counter").initialize();
    session.count("count");
    for command in [
        "SET mooring:events nonsense",
        "SET mooring:n:c {}",
        "SET mooring:n:a nonsense",
        "LPUSH mooring:n:d x",
        "SET mooring:c:x nonsense",
    ] {
        pair.redis.say(command);
    }
    let keys = pair.redis.say("KEYS mooring:b:*");
    for key in keys.lines().filter(|line| line.starts_with("mooring:b:")) {
        pair.redis.say(&format!("DEL {key}"));
        pair.redis.say(&format!("SET {key} nonsense"));
    }
    assert_eq!(session.count("count"), 2);
    for at in [0, 1] {
        assert_eq!(pair.client(at, "/mcp/counter").initialize().count("count"), 1);
    }
    let there = pair.elsewhere(1, "/mcp/counter", &session);
    there.try_request("ping", json!({})).expect(200);
    for coordinator in &pair.coordinators {
        assert!(!coordinator.log().contains("panicked"), "{}", coordinator.log());
    }
}

#[test]
fn the_password_of_redis_is_in_no_log_and_no_page() {
    let password = "hunter2-is-long-enough";
    let Some(redis) = RedisServer::with_password("a password of Redis", password) else { return };
    let mut pair = Pair::over(redis, &json!({}));
    let session = pair.client(0, "/mcp/counter").initialize();
    assert_eq!(session.count("count"), 1);
    assert_eq!(pair.elsewhere(1, "/mcp/counter", &session).count("count"), 2);
    pair.redis.kill9();
    pair.wait_until_store("stale since");
    for coordinator in &pair.coordinators {
        let pages = ["/readyz", "/health", "/metrics"].map(|page| coordinator.get(page).text());
        for text in pages.into_iter().chain([coordinator.log()]) {
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
}

#[test]
fn a_node_registers_with_every_coordinator_of_its_list() {
    // Without a store: what the ids say is all that the coordinators share.
    let secret = "a secret that both of them have";
    let one =
        || Setup::new(&settings::coordinator(json!({}))).env("MOORING_SECRET", secret).start();
    let coordinators = [one(), one()];
    let urls: Vec<String> = coordinators.iter().map(Gateway::url).collect();
    let counter = json!({"counter": servers::counter_named("a")});
    let settings = settings::node(0, json!({"id": "a", "coordinatorUrl": urls}), counter);
    let mut node = Gateway::start_with(&settings);
    let are_active = |count: usize| {
        for coordinator in &coordinators {
            eventually("both know whether the node is there", || {
                let nodes = coordinator.data("/api/cluster/nodes?active=true");
                (nodes.as_array()?.len() == count).then_some(())
            });
        }
    };
    are_active(1);
    eventually("the node is ready", || (node.get("/readyz").status == 200).then_some(()));
    let session = coordinators[0].client("/mcp/counter").initialize();
    assert_eq!(session.count("count"), 1);
    let there = Session::resumed(&coordinators[1].client("/mcp/counter"), &session.id);
    assert_eq!(there.count("count"), 2);
    node.terminate();
    are_active(0);
}

#[test]
fn a_node_that_drains_by_order_of_one_coordinator_gets_no_session_from_the_other() {
    let Some(pair) = Pair::start("a drain", &json!({})) else { return };
    // `b` has registered with the second one alone.
    let order = Request::post("/api/cluster/nodes/b/drain");
    let order = order.header("Content-Type", "application/json").body(b"{}".to_vec());
    order.send(pair.coordinators[0].address()).expect(200);
    eventually("both know it", || {
        let is_draining = |coordinator: &Gateway| {
            let nodes = coordinator.data("/api/cluster/nodes");
            let node = nodes.as_array()?.iter().find(|node| node["id"] == "b")?.clone();
            (node["draining"] == true).then_some(())
        };
        pair.coordinators.iter().map(is_draining).collect::<Option<Vec<()>>>()
    });
    for number in 0..20 {
        let session = pair.client(number % 2, "/mcp/counter").initialize();
        assert_eq!(session.whoami("whoami").name, "a");
    }
}
