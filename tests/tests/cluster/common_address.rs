//! Two coordinators behind one address, as a load balancer gives it to clients and nodes: whoever is
//! there serves.

use std::time::{Duration, Instant};

use mooring_tests::{
    Client, Gateway, Pair, RedisServer, Relay, Session, eventually, servers, settings,
};
use serde_json::json;

/// Coordinators, a balancer before them, and nodes that know only that.
struct Balanced {
    pair: Pair,
    address: Relay,
}

impl Balanced {
    fn start(what: &str) -> Option<Self> {
        let redis = RedisServer::start(what)?;
        let cluster = json!({"coordinator": {"nodeTimeout": 3000}});
        let mut pair = Pair::over(redis, &cluster);
        let address = Relay::among(&pair.coordinators.each_ref().map(Gateway::port));
        for node in &mut pair.nodes {
            node.terminate();
        }
        pair.nodes = ["a", "b"]
            .map(|id| {
                let counter = json!({"counter": servers::counter_named(id)});
                Pair::node(&address.url(), id, counter)
            })
            .into();
        pair.wait_for(2);
        Some(Self { pair, address })
    }

    fn client(&self, path: &str) -> Client {
        Client::new(self.address.address(), path)
    }
}

#[test]
fn requests_that_alternate_between_coordinators_reach_one_process() {
    let Some(balanced) = Balanced::start("a common address") else { return };
    for (path, prefix) in [("/mcp/counter", ""), ("/mcp", "counter-")] {
        let sessions: Vec<Session> = (0..10).map(|_| balanced.client(path).initialize()).collect();
        for round in 1..7 {
            for session in &sessions {
                assert_eq!(session.count(&format!("{prefix}count")), round, "{path}");
            }
        }
        for session in &sessions {
            session.delete().expect(200);
            let mut in_a_row = 0;
            eventually("the end is heard at both", || {
                let is_ended = session.try_request("ping", json!({})).status == 404;
                in_a_row = if is_ended { in_a_row + 1 } else { 0 };
                (in_a_row == 4).then_some(())
            });
        }
    }
}

#[test]
fn a_coordinator_that_is_killed_costs_no_session_and_no_node() {
    let Some(mut balanced) = Balanced::start("a common address") else { return };
    let sessions: Vec<(Session, u32)> = (0..20)
        .map(|_| {
            let session = balanced.client("/mcp/counter").initialize();
            assert_eq!(session.count("count"), 1);
            let pid = session.whoami("whoami").pid;
            (session, pid)
        })
        .collect();
    balanced.pair.coordinators[0].kill9();
    // Longer than a lease: the nodes say to the other one that they are there.
    let end = Instant::now() + Duration::from_millis(4500);
    let mut count = 1;
    while Instant::now() < end {
        count += 1;
        for (session, pid) in &sessions {
            assert_eq!(session.count("count"), count);
            assert_eq!(session.whoami("whoami").pid, *pid);
        }
    }
    let active = balanced.pair.coordinators[1].data("/api/cluster/nodes?active=true");
    assert_eq!(active.as_array().unwrap().len(), 2, "{active}");
    // It comes back, knows all of them, and the other one goes.
    balanced.pair.coordinators[0].start();
    balanced.pair.wait_for(2);
    balanced.pair.coordinators[1].kill9();
    for (session, pid) in &sessions {
        assert_eq!(session.count("count"), count + 1);
        assert_eq!(session.whoami("whoami").pid, *pid);
    }
    let text = balanced.pair.coordinators[0].get("/metrics").text();
    assert!(text.contains("mooring_store_up 1"), "{text}");
}

#[test]
fn how_many_share_the_store_and_that_one_decides_otherwise_is_told() {
    let Some(redis) = RedisServer::start("coordinators that differ") else { return };
    let pair = Pair::over(redis, &json!({}));
    let other = json!({
        "store": {"type": "redis", "url": pair.redis.url()},
        "stickySession": {"strategy": "header"},
    });
    let _other = Gateway::start_with(&settings::coordinator(other));
    eventually("three are counted", || {
        let metrics = pair.coordinators[0].get("/metrics").text();
        metrics.contains("mooring_coordinators 3").then_some(())
    });
    pair.coordinators[0].wait_for_log("other stickySession settings");
}
