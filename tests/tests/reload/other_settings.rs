//! Keys, groups, the strategy and limits; and what waits for the next start.

use mooring_tests::{Gateway, Request, eventually, servers, settings};
use serde_json::{Value, json};

fn two() -> Value {
    settings::standalone(json!({"one": servers::counter(), "two": servers::counter()}))
}

fn with(more: Value) -> Value {
    settings::merged(two(), more)
}

#[test]
fn a_groups_members_change_for_sessions_that_are_open() {
    let group = |members: &[&str]| with(json!({"groups": [{"name": "g", "servers": members}]}));
    let gateway = Gateway::start_with(&group(&["one"]));
    let session = gateway.client("/mcp/g").initialize();
    assert!(session.tools().iter().all(|tool| !tool.contains("two")));
    let mut stream = session.listen();
    let report = gateway.apply(&group(&["one", "two"]));
    assert_eq!(report["also"], json!(["groups"]));
    stream.message(|message| message["method"] == "notifications/tools/list_changed");
    assert_eq!(session.tools().len(), 6, "{:?}", session.tools());
    gateway.apply(&group(&["two"]));
    eventually("one is gone", || (session.tools().len() == 3).then_some(()));
    gateway.apply(&two());
    session.try_request("tools/list", json!({})).expect(404);
}

#[test]
fn a_key_opens_and_a_key_that_is_gone_does_not_on_connections_that_are_open() {
    let key = |name: &str| json!({"name": name, "token": format!("token-of-{name}"), "enabled": true, "accessType": "all"});
    let keys = |names: &[&str]| {
        let keys: Vec<Value> = names.iter().map(|name| key(name)).collect();
        with(json!({"bearerKeys": keys}))
    };
    let gateway = Gateway::start_with(&keys(&["a"]));
    let bearer = |name: &str| format!("Bearer token-of-{name}");
    let client = |name: &str| gateway.client("/mcp").header("Authorization", &bearer(name));
    let session = client("a").initialize();
    client("b").try_initialize().expect(401);
    let reload = |name: &str| {
        let post = Request::post("/api/reload").header("Authorization", &bearer(name));
        post.send(gateway.address()).expect(200)
    };
    gateway.rewrite(&keys(&["a", "b"]));
    reload("a");
    client("b").try_initialize().expect(200);
    assert_eq!(session.count("one-count"), 1);
    let mut stream = session.listen();
    gateway.rewrite(&keys(&["b"]));
    reload("a");
    client("a").try_initialize().expect(401);
    session.try_request("tools/list", json!({})).expect(401);
    // What it listens to ends, too.
    while stream.next_event().is_some() {}
    client("b").try_initialize().expect(200);
}

#[test]
fn another_strategy_decides() {
    let strategy = |name: &str| {
        with(json!({"systemConfig": {"cluster": {"stickySession": {"strategy": name}}}}))
    };
    let gateway = Gateway::start_with(&strategy("consistent-hash"));
    let report = gateway.apply(&strategy("header"));
    assert_eq!(report["also"], json!(["strategy"]));
    let session = gateway.client("/mcp/one").initialize();
    assert_eq!(session.count("count"), 1);
}

#[test]
fn a_limit_on_processes_applies_to_the_next_session() {
    let limited = |most: u64| with(json!({"mcpServers": {"one": {"maxInstances": most}}}));
    let gateway = Gateway::start_with(&limited(1));
    let first = gateway.client("/mcp/one").initialize();
    assert_eq!(first.count("count"), 1);
    let refused = gateway.client("/mcp/one").try_initialize();
    assert!(refused.error_message().contains("maxInstances"), "{}", refused.error_message());
    gateway.apply(&limited(2));
    let second = gateway.client("/mcp/one").initialize();
    assert_eq!((second.count("count"), first.count("count")), (1, 2));
}

#[test]
fn what_cannot_change_is_named_and_stays() {
    let gateway = Gateway::start_with(&two());
    let session = gateway.client("/mcp/one").initialize();
    let changed = with(json!({
        "mcpServers": {"three": servers::counter()},
        "systemConfig": {
            "cluster": {"drainDeadline": 7000, "secret": "another secret, which is long enough"},
            "limits": {"inFlightPerSession": 7},
            "listen": {"host": "::1"},
        },
    }));
    let report = gateway.apply(&changed);
    let stays = report["needsRestart"].to_string();
    for key in ["drainDeadline", "secret", "limits"] {
        assert!(stays.contains(key), "{key}: {stays}");
    }
    // The variable of the tests says where this gateway listens, before and after.
    assert!(!stays.contains("listen.host"), "{stays}");
    gateway.wait_for_log("takes effect with the next start only");
    assert_eq!(report["added"], json!(["three"]));
    // Sealed with the secret of before.
    assert_eq!(session.count("count"), 1);
}
