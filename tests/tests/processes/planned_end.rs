//! The planned end of a gateway that serves its clients itself, and of a coordinator.

use std::time::{Duration, Instant};

use mooring_tests::{Client, Cluster, Gateway, Session, eventually, servers, settings};
use rustix::process::Signal;
use serde_json::{Value, json};

fn asker() -> Value {
    json!({"command": "mooring-conformance-server", "args": ["stdio"]})
}

fn able(client: Client) -> Session {
    let params = json!({
        "protocolVersion": "2025-11-25",
        "capabilities": {"elicitation": {"form": {}}},
        "clientInfo": {"name": "mooring-tests", "version": "1"},
    });
    client.params(params).initialize()
}

#[track_caller]
fn wait_until_ending(gateway: &Gateway) {
    eventually("it is not ready any more", || {
        let ready = mooring_tests::Request::get("/readyz").try_send(gateway.address()).ok()?;
        (ready.status == 503 && ready.text().contains("ending")).then_some(())
    });
}

#[test]
fn a_question_that_is_open_is_answered_over_a_new_connection_before_the_gateway_ends() {
    let mut gateway = Gateway::start_with(&settings::standalone(json!({"asker": asker()})));
    let session = able(gateway.client("/mcp/asker"));
    let (mut stream, id) = session.start("test_elicitation", json!({"message": "m"}), json!({}));
    let question = stream.message(|message| message["method"] == "elicitation/create");
    gateway.signal(Signal::TERM);
    wait_until_ending(&gateway);
    let content = json!({"username": "u", "email": "a@b"});
    session.reply(&question["id"], json!({"action": "accept", "content": content}));
    let answer = stream.message(|message| message["id"] == id);
    assert!(answer["result"].is_object(), "{answer}");
    assert!(gateway.wait_for_end().success());
}

#[test]
fn a_second_signal_ends_the_gateway_at_once_with_all_its_servers() {
    for second in [Signal::TERM, Signal::INT] {
        let clock = json!({"clock": servers::clock()});
        let mut gateway = Gateway::start_with(&settings::standalone(clock));
        let session = gateway.client("/mcp/clock").initialize();
        let (_stream, _) = session.start("sleep", json!({"ms": 60_000}), json!({}));
        eventually("the call is under way", || {
            let now = session.call("now", json!({}));
            (now["structuredContent"]["waiting"] == 1).then_some(())
        });
        gateway.signal(Signal::TERM);
        wait_until_ending(&gateway);
        let began = Instant::now();
        gateway.end_by(second);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        assert!(gateway.log().contains("a second signal"));
    }
}

#[test]
fn the_deadline_is_that_of_the_settings() {
    let settings = json!({
        "mcpServers": {"clock": servers::clock()},
        "systemConfig": {"cluster": {"drainDeadline": 1000}},
    });
    let mut gateway = Gateway::start_with(&settings);
    let session = gateway.client("/mcp/clock").initialize();
    let (_stream, _) = session.start("sleep", json!({"ms": 60_000}), json!({}));
    eventually("the call is under way", || {
        let now = session.call("now", json!({}));
        (now["structuredContent"]["waiting"] == 1).then_some(())
    });
    let began = Instant::now();
    assert!(gateway.terminate().success());
    let took = began.elapsed();
    assert!((Duration::from_secs(1)..Duration::from_secs(9)).contains(&took), "{took:?}");
}

#[test]
fn a_coordinator_does_not_wait_for_a_call_that_its_client_can_come_back_to() {
    let mut cluster = Cluster::of_two_equal_nodes(json!({}));
    cluster.add("c", json!({"clock": servers::clock()}));
    cluster.wait_for_active(3);
    let session = cluster.client("/mcp/clock").initialize();
    let (mut stream, id) = session.start("sleep", json!({"ms": 6000}), json!({}));
    let last = std::iter::from_fn(|| stream.line())
        .find_map(|line| line.strip_prefix("id: ").map(str::to_owned))
        .expect("an event that primes the stream");
    let began = Instant::now();
    assert!(cluster.coordinator.terminate().success());
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    while stream.next_event().is_some() {}
    cluster.coordinator.start();
    let mut rest = session.resume(&last);
    let answer = rest.message(|message| message["id"] == id);
    assert_eq!(answer["result"]["structuredContent"]["ms"], 6000, "{answer}");
}
