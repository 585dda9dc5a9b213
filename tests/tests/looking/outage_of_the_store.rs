//! The outage drill of two coordinators: their Redis dies, hangs and comes back empty, and one of them is
//! gone. Each says so within seconds, and sessions go on.

use std::process::{Command, Output};

use mooring_tests::{Gateway, Pair, RedisServer, Session, binaries, eventually};
use rustix::process::Signal;
use serde_json::json;

fn run(gateway: &Gateway, command: &str) -> Output {
    let url = gateway.url();
    Command::new(binaries::mooring()).args([command, "--url", &url]).output().unwrap()
}

/// What every coordinator says when the store answers, or does not.
fn says(gateway: &Gateway, is_there: bool) -> Option<()> {
    let health = gateway.get("/health").expect(200).json();
    let ready = gateway.get("/readyz").expect(200).text();
    let metrics = gateway.get("/metrics").expect(200).text();
    let is_stale = ready.contains("store: stale since ");
    let is_told = health["reasons"].as_array()?.iter().any(|reason| {
        reason
            .as_str()
            .is_some_and(|text| text.starts_with("the store of the coordinators is stale"))
    });
    let up = format!("mooring_store_up {}\n", u8::from(is_there));
    let status = if is_there { "ok" } else { "degraded" };
    let agrees = is_stale != is_there && is_told != is_there && metrics.contains(&up);
    (agrees && health["status"] == status).then_some(())
}

fn all_say(pair: &Pair, is_there: bool) {
    for coordinator in &pair.coordinators {
        eventually("it says how the store is", || says(coordinator, is_there));
        // Servers can be used, and the commands ask no store.
        for command in ["health", "ps", "nodes", "sessions"] {
            let output = run(coordinator, command);
            assert!(output.status.success(), "{command}: {output:?}");
        }
        gateway_counts_itself(coordinator);
    }
}

fn gateway_counts_itself(coordinator: &Gateway) {
    let metrics = coordinator.get("/metrics").text();
    let line = metrics.lines().find(|line| line.starts_with("mooring_coordinators ")).unwrap();
    assert!(line != "mooring_coordinators 0", "{line}");
}

#[test]
fn each_coordinator_says_that_the_store_is_away_and_sessions_go_on() {
    let Some(redis) = RedisServer::start("an outage of Redis") else { return };
    let mut pair = Pair::over(redis, &json!({}));
    all_say(&pair, true);
    let sessions: Vec<Session> =
        (0..2).map(|at| pair.client(at, "/mcp/counter").initialize()).collect();
    let mut count = 0;
    let mut go_on = |pair: &Pair| {
        for (at, session) in sessions.iter().enumerate() {
            assert_eq!(session.count("count"), count + 1);
            let there = pair.elsewhere(1 - at, "/mcp/counter", session);
            assert_eq!(there.count("count"), count + 2);
        }
        count += 2;
        let _ = pair.client(0, "/mcp").initialize().count("counter-count");
    };
    go_on(&pair);
    pair.redis.kill9();
    all_say(&pair, false);
    go_on(&pair);
    // Empty.
    pair.redis.start_again();
    all_say(&pair, true);
    go_on(&pair);
    pair.redis.signal(Signal::STOP);
    all_say(&pair, false);
    go_on(&pair);
    pair.redis.signal(Signal::CONT);
    all_say(&pair, true);
    go_on(&pair);
    assert!(pair.redis.say("FLUSHALL").contains("OK"));
    go_on(&pair);
    all_say(&pair, true);
    // The other one serves all of it.
    pair.coordinators[0].kill9();
    eventually("the other one says so", || says(&pair.coordinators[1], true));
    for session in &sessions {
        assert_eq!(pair.elsewhere(1, "/mcp/counter", session).count("count"), count + 1);
    }
}

/// Before anybody calls a node that is gone, `mooring ps` is the first to ask it.
#[test]
fn a_node_that_nobody_has_missed_yet_is_told_of_once() {
    let Some(redis) = RedisServer::start("a node that is gone") else { return };
    let mut pair = Pair::over(redis, &json!({}));
    pair.nodes[1].kill9();
    for coordinator in &pair.coordinators {
        let output = run(coordinator, "ps");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let lines: Vec<&str> =
            errors.lines().filter(|line| line.contains("node b is unreachable")).collect();
        assert_eq!(lines.len(), 1, "{errors}");
        assert_eq!(lines[0].matches("is unreachable").count(), 1, "{errors}");
    }
}
