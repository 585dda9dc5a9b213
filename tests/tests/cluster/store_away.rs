//! A coordinator whose way to Redis is slow or cut while the other has it: bound sessions do not
//! notice, and in the end a session has one process.

use std::time::{Duration, Instant};

use mooring_tests::relay::Fault;
use mooring_tests::{
    Pair, RedisServer, Relay, Session, eventually, process, servers, wait_until_store,
};
use serde_json::{Value, json};

/// A pair whose second coordinator reaches Redis through a relay.
fn pair(what: &str, cluster: &Value) -> Option<(Pair, Relay)> {
    let redis = RedisServer::start(what)?;
    let relay = Relay::to(redis.port());
    let urls = [redis.url(), format!("redis://{}", relay.address())];
    let counter = |id: &str| json!({"counter": servers::counter_named(id)});
    Some((Pair::by(redis, urls, cluster, counter), relay))
}

#[test]
fn a_call_on_a_bound_session_asks_redis_nothing() {
    const DELAY: Duration = Duration::from_millis(150);
    let Some((pair, relay)) = pair("a slow Redis", &json!({})) else { return };
    let params = json!({
        "protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": {"name": "x".repeat(5000), "version": "1"},
    });
    for (path, tool) in [("/mcp/counter", "count"), ("/mcp", "counter-count")] {
        for params in [params.clone(), Value::Null] {
            let mut client = pair.client(1, path);
            if !params.is_null() {
                client = client.params(params);
            }
            let session = client.initialize();
            session.count(tool);
            relay.fault(Fault::Slow(DELAY));
            let begun = Instant::now();
            for round in 2..22 {
                // Each on a connection of its own.
                assert_eq!(session.count(tool), round);
            }
            assert!(begun.elapsed() < DELAY * 10, "{path}: {:?}", begun.elapsed());
            // While it is only slow, it is asked where a session is new.
            assert_eq!(pair.client(1, path).initialize().count(tool), 1);
            relay.fault(Fault::None);
            wait_until_store(&pair.coordinators[1], "fresh");
        }
    }
}

#[test]
fn what_one_has_missed_of_the_other_is_caught_up_with() {
    let Some((pair, relay)) = pair("a coordinator without Redis", &json!({})) else { return };
    let begin = |at: usize| {
        let session = pair.client(at, "/mcp/counter").initialize();
        assert_eq!(session.count("count"), 1);
        session
    };
    let (ended, goes_on) = (begin(0), begin(0));
    // Both know both.
    for session in [&ended, &goes_on] {
        assert_eq!(pair.elsewhere(1, "/mcp/counter", session).count("count"), 2);
    }
    for fault in [Fault::Frozen, Fault::Closing] {
        relay.fault(fault);
        wait_until_store(&pair.coordinators[1], "stale since");
        assert_eq!(pair.coordinators[0].get("/health").json()["store"], "fresh");
        // New ones at either, meanwhile.
        let new = [begin(0), begin(1)];
        relay.fault(Fault::None);
        wait_until_store(&pair.coordinators[1], "fresh");
        for (at, session) in new.iter().enumerate() {
            let there = pair.elsewhere(1 - at, "/mcp/counter", session);
            assert_eq!(there.count("count"), 2, "{fault:?}");
        }
    }
    relay.fault(Fault::Frozen);
    wait_until_store(&pair.coordinators[1], "stale since");
    assert_eq!(ended.delete().status, 200);
    relay.fault(Fault::None);
    let there = pair.elsewhere(1, "/mcp/counter", &ended);
    eventually("the end is heard", || {
        (there.try_request("ping", json!({})).status == 404).then_some(())
    });
    assert_eq!(pair.elsewhere(1, "/mcp/counter", &goes_on).count("count"), 3);
}

/// The processes of all nodes.
fn processes(pair: &Pair) -> Vec<u32> {
    pair.nodes.iter().flat_map(|node| process::descendants(node.pid())).collect()
}

#[test]
fn of_two_processes_that_were_begun_apart_one_is_left() {
    let cluster = json!({"stickySession": {"strategy": "header"}});
    let Some((pair, relay)) = pair("coordinators apart", &cluster) else { return };
    let at = |at: usize, node: &str| pair.client(at, "/mcp").header("X-MCPHub-Node", node);
    let session = at(0, "a").initialize();
    let there = Session::resumed(&at(1, "b"), &session.id);
    there.try_request("ping", json!({})).expect(200);
    relay.fault(Fault::Frozen);
    wait_until_store(&pair.coordinators[1], "stale since");
    let here = session.whoami("counter-whoami");
    let other = there.whoami("counter-whoami");
    assert_eq!((here.name.as_str(), other.name.as_str()), ("a", "b"), "each decides alone");
    relay.fault(Fault::None);
    wait_until_store(&pair.coordinators[1], "fresh");
    let pid = eventually("both say the same", || {
        let pids = [&session, &there].map(|session| session.whoami("counter-whoami").pid);
        (pids[0] == pids[1]).then_some(pids[0])
    });
    assert!(pid == here.pid || pid == other.pid, "one of them, and no third");
    let ended = if pid == here.pid { other.pid } else { here.pid };
    eventually("the other process is ended", || (!processes(&pair).contains(&ended)).then_some(()));
    for _ in 0..5 {
        for session in [&session, &there] {
            assert_eq!(session.whoami("counter-whoami").pid, pid);
        }
    }
}
