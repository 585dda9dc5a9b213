//! Limits of requests: how often, and how much at the same time.

use mooring_tests::{
    Canned, Client, Gateway, OverSse, Session, Setup, eventually, servers, settings,
};
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

/// A batch for one server passes or is refused as a whole. One that asks for more than may ever pass at
/// once is not told to try again.
#[test]
fn a_batch_that_no_wait_helps_is_told_so_and_a_refused_one_costs_nothing() {
    let gateway = start(json!([
        {"name": "few", "per": "principal", "servers": ["counter"], "requests": 1,
         "within": 1_000_000, "burst": 3},
        {"name": "narrow", "per": ["principal", "tool"], "servers": ["clock"], "concurrent": 2},
    ]));
    let begun = |path: &str| client(&gateway, "ann", path).revision("2025-03-26").initialize();
    let batch = |session: &Session, tool: &str, number: usize| {
        let call = |_| session.message("tools/call", json!({"name": tool, "arguments": {}})).0;
        let messages: Vec<Value> = (0..number).map(call).collect();
        session.post(&json!(messages)).send(gateway.address()).expect(200)
    };
    let (counter, clock) = (begun("/mcp/counter"), begun("/mcp/clock"));
    for (session, tool, limit, number, at_once) in
        [(&counter, "count", "few", 4, 3), (&clock, "now", "narrow", 3, 2)]
    {
        let refused = batch(session, tool, number);
        assert_eq!(refused.header("retry-after"), None, "{limit}");
        let answers = refused.messages();
        let answers = answers.first().and_then(Value::as_array).unwrap_or(&answers).clone();
        assert_eq!(answers.len(), number, "{limit}: {answers:?}");
        for answer in &answers {
            let error = &answer["error"];
            assert_eq!((&error["code"], &error["data"]["limit"]), (&json!(-32600), &json!(limit)));
            assert_eq!(error["data"], json!({"limit": limit, "atOnce": at_once}), "{error}");
            assert!(error["message"].as_str().unwrap().contains("smaller batches"), "{error}");
        }
    }
    // What was refused has cost nothing: three pass at once still.
    for _ in 0..2 {
        batch(&counter, "count", 4);
    }
    assert!(!batch(&counter, "count", 1).text().contains("error"));
    let early = batch(&counter, "count", 3);
    assert!(early.header("retry-after").is_some(), "{}", early.text());
    assert!(early.text().contains("-31005"), "{}", early.text());
    assert!(!batch(&counter, "count", 2).text().contains("error"));
    assert!(!batch(&clock, "now", 2).text().contains("error"));
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

/// Limits of a server's calls leave everything else of its URL as it is without them.
#[test]
fn limits_alone_change_nothing_of_what_a_server_says() {
    let server = Canned::new()
        .with_capabilities(json!({"tools": {}, "experimental": {"x": {"y": 1}}}))
        .answers("tools/list", json!({"tools": [{"name": "a", "inputSchema": {"type": "object"}}]}))
        .answers("tools/call", json!({"content": []}))
        .answers("ping", json!({}))
        .answers("acme/own", json!({"own": true}));
    let rate = |servers: &str| {
        json!([{"name": "few", "per": "principal", "servers": [servers], "requests": 1,
                "within": 1_000_000, "burst": 2}])
    };
    let begin = |rates: Value, revision: &str| {
        let limits = json!({"systemConfig": {"limits": {"rates": rates}}});
        let servers = settings::standalone(json!({"one": server.entry()}));
        let gateway = Gateway::start_with(&settings::merged(servers, limits));
        let client = gateway.client("/mcp/one").revision(revision);
        let begun = client.try_initialize().expect(200).messages()[0]["result"].clone();
        let session = client.initialize();
        (gateway, session, begun)
    };
    let (_other, plain, usual) = begin(rate("another"), "2025-11-25");
    let (gateway, session, begun) = begin(rate("one"), "2025-11-25");
    assert_eq!(begun, usual);
    assert_eq!(begun["serverInfo"]["name"], "canned");
    for method in ["ping", "tools/list", "acme/own"] {
        let mut answers = [&plain, &session].map(|session| session.answer(method, json!({})));
        answers.iter_mut().for_each(|answer| answer["id"] = json!(0));
        assert_eq!(answers[0], answers[1], "{method}");
    }
    // Lists and pings are free; the method of its own was counted.
    session.call("a", json!({}));
    for params in [json!({"name": "a"}), json!({"name": "one-a"})] {
        let refused = session.answer("tools/call", params);
        assert_eq!(refused["error"]["data"]["limit"], "few", "{refused}");
    }
    assert_eq!(session.answer("acme/own", json!({}))["error"]["code"], -31005);
    assert!(session.answer("tools/list", json!({})).get("result").is_some());
    // What may be read as another call is none.
    let twofold = session.answer("tools/call", json!({"name": "a", "Name": "b"}));
    assert!(twofold.get("error").is_some(), "{twofold}");
    let mut over_sse = OverSse::initialize(gateway.address(), "/sse/one");
    assert_eq!(over_sse.answer("tools/call", json!({"name": "a"}))["error"]["code"], -31005);
    // A large body is counted as a small one is.
    let large = json!({"name": "a", "arguments": {"x": "x".repeat(3_000_000)}});
    assert_eq!(session.answer("tools/call", large)["error"]["code"], -31005);
    // A batch is answered as a whole, each request under its id.
    let old = json!({"protocolVersion": "2025-03-26", "capabilities": {"tools": {}},
        "serverInfo": {"name": "canned", "version": "1"}});
    server.answer("initialize", &old);
    let (gateway, batch, _) = begin(rate("one"), "2025-03-26");
    let calls: Vec<Value> =
        (0..4).map(|_| batch.message("tools/call", json!({"name": "a"})).0).collect();
    let answers = batch.post(&json!(calls)).send(gateway.address()).expect(200).json();
    let ids = |all: &[Value]| all.iter().map(|one| one["id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(answers.as_array().unwrap()), ids(&calls));
    // It is larger than what may pass at once, so that waiting does not help.
    assert!(answers.as_array().unwrap().iter().all(|one| one["error"]["code"] == -32600));
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
