//! Limits of requests: how often, and how much at the same time.

use mooring_tests::{Client, Gateway, Session, Setup, eventually, servers};
use serde_json::{Value, json};

fn token(name: &str) -> String {
    format!("token-of-{name}-0123456789")
}

fn start(rates: Value) -> Gateway {
    let key = |name: &str| json!({"name": name, "token": token(name), "accessType": "all"});
    let settings = json!({
        "mcpServers": {
            "counter": servers::counter(), "other": servers::counter(), "clock": servers::clock(),
        },
        "bearerKeys": [key("ann"), key("bob")],
        "systemConfig": {"limits": {"rates": rates}},
    });
    Gateway::start_with(&settings)
}

fn client(gateway: &Gateway, name: &str, path: &str) -> Client {
    gateway.client(path).header("Authorization", &format!("Bearer {}", token(name)))
}

fn resumed(session: &Session) -> (Value, Value) {
    session.message("ping", json!({}))
}

#[test]
fn a_principal_that_asks_too_often_gets_429_and_others_do_not() {
    // One in a thousand seconds: nothing comes back while the test runs.
    let gateway = start(json!([
        {"name": "each", "per": "principal", "requests": 1, "within": 1_000_000, "burst": 5},
    ]));
    // `initialize` and `initialized` are two.
    let ann = client(&gateway, "ann", "/mcp").initialize();
    let (ping, _) = resumed(&ann);
    for _ in 0..3 {
        ann.post(&ping).send(gateway.address()).expect(200);
    }
    let refused = ann.post(&ping).send(gateway.address()).expect(429);
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((900..=1000).contains(&seconds), "{seconds}");
    let error = &refused.json()["error"];
    assert_eq!(
        (error["code"].as_i64(), error["data"]["limit"].as_str()),
        (Some(-31005), Some("each"))
    );
    assert!(error["data"]["retryAfterMs"].as_u64().unwrap() > 900_000, "{error}");
    assert_eq!(refused.json()["id"], ping["id"]);
    let _ = client(&gateway, "bob", "/mcp").initialize();
    // Streams and the end of a session are not counted.
    ann.delete().expect(200);
}

#[test]
fn what_was_spent_comes_back_with_time() {
    let gateway = start(json!([{"per": "key", "requests": 2, "within": 1000, "burst": 3}]));
    let session = client(&gateway, "ann", "/mcp").initialize();
    let (ping, _) = resumed(&session);
    let status = || session.post(&ping).send(gateway.address()).status;
    eventually("it is refused", || (status() == 429).then_some(()));
    eventually("it is let in again", || (status() == 200).then_some(()));
}

#[test]
fn calls_of_a_tool_are_counted_wherever_they_come_in() {
    let gateway = start(json!([
        {"name": "few", "per": ["principal", "tool"], "servers": ["counter"], "tools": ["count"],
         "requests": 1, "within": 1_000_000, "burst": 2},
    ]));
    let one = client(&gateway, "ann", "/mcp/counter").initialize();
    let all = client(&gateway, "ann", "/mcp").initialize();
    one.call("count", json!({}));
    all.call("counter-count", json!({}));
    for (session, tool) in [(&one, "count"), (&all, "counter-count"), (&one, "counter-count")] {
        // The session goes on, so that the answer is one of its own.
        let response =
            session.try_request("tools/call", json!({"name": tool, "arguments": {}})).expect(200);
        let error = response.messages()[0]["error"].clone();
        assert_eq!(error["code"], -31005, "{tool}: {error}");
        assert_eq!(error["data"]["limit"], "few");
        assert!(response.header("retry-after").is_some());
    }
    // Other tools, other servers and other principals are counted apart, or not at all.
    one.call("whoami", json!({}));
    all.call("other-count", json!({}));
    client(&gateway, "bob", "/mcp/counter").initialize().call("count", json!({}));
    let batch = client(&gateway, "bob", "/mcp").revision("2025-03-26").initialize();
    let call = || batch.message("tools/call", json!({"name": "counter-count", "arguments": {}})).0;
    let answers = batch.post(&json!([call(), call(), call()])).send(gateway.address()).expect(200);
    let refused = answers.messages().iter().filter(|answer| answer.get("error").is_some()).count();
    assert_eq!(refused, 2, "{:?}", answers.messages());
}

#[test]
fn only_so_many_calls_run_at_the_same_time() {
    let gateway = start(json!([{"name": "narrow", "servers": ["clock"], "concurrent": 1}]));
    let session = client(&gateway, "ann", "/mcp/clock").initialize();
    let other = client(&gateway, "bob", "/mcp").initialize();
    // A call that takes longer than a second is answered by a stream, which begins then.
    let (mut slow, id) = session.start("sleep", json!({"ms": 5000}), json!({}));
    let call = || other.answer("tools/call", json!({"name": "clock-now", "arguments": {}}));
    let refused = call()["error"].clone();
    assert_eq!(refused["data"]["limit"], "narrow", "{refused}");
    other.call("counter-count", json!({}));
    slow.message(|message| message["id"] == id);
    drop(slow);
    eventually("the place is free", || call().get("result").cloned());
}

#[test]
fn limits_that_limit_nothing_refuse_the_start() {
    for (rates, says) in [
        (json!({"requests": 1}), "a list of limits"),
        (json!([{"per": "principal"}]), "limits nothing"),
        (json!([{"requests": 0}]), "too small"),
        (json!([{"concurrent": 1, "burst": 2}]), "which is absent"),
        (json!([{"requests": 1, "per": "user"}]), "is nothing that is counted"),
        (json!([{"requests": 1, "window": 5}]), "not a known key"),
    ] {
        let settings = json!({"mcpServers": {}, "systemConfig": {"limits": {"rates": rates}}});
        let output = Setup::new(&settings).run(&["check"]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{rates}: {told}");
        assert!(told.contains(says), "{rates}: {told}");
    }
}
