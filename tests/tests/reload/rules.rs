//! Rules, limits of requests and issuers of tokens that a reload changes: sessions lose what their
//! clients may not use any more, and keep the rest.

use mooring_tests::http::Incoming;
use mooring_tests::{Gateway, Issuer, Request, eventually, servers, settings};
use serde_json::{Value, json};

const KEY: &str = "Bearer the-key-of-a";

/// A gateway's file: two servers, the key `a`, and these further settings under `systemConfig`.
fn with(system: &Value) -> Value {
    let all = json!({"one": servers::counter_named("one"), "two": servers::counter_named("two")});
    settings::merged(
        settings::roomy(settings::standalone(all)),
        json!({
            "bearerKeys": [{"name": "a", "token": "the-key-of-a", "accessType": "all"}],
            "systemConfig": system,
        }),
    )
}

/// Everybody may use these servers, and the holder of the key the management API.
fn rules(servers: &[&str]) -> Value {
    json!({"policy": [
        {"effect": "allow", "servers": servers},
        {"effect": "allow", "who": {"keys": "a"}, "management": true},
    ]})
}

fn ends(mut stream: Incoming) {
    while stream.next_event().is_some() {}
}

#[test]
fn a_session_loses_what_the_new_rules_do_not_allow_and_keeps_the_rest() {
    let gateway = Gateway::start_with(&with(&rules(&["one", "two"])));
    let client = |path: &str| gateway.client(path).header("Authorization", KEY);
    let (all, one) = (client("/mcp").initialize(), client("/mcp/one").initialize());
    let two = client("/mcp/two").initialize();
    assert_eq!((all.count("one-count"), all.count("two-count")), (1, 1));
    assert_eq!((one.count("count"), two.count("count")), (1, 1));
    let (of_all, of_two) = (all.listen(), two.listen());
    gateway.apply(&with(&rules(&["one"])));
    ends(of_all);
    ends(of_two);
    assert_eq!(all.tools().len(), 3);
    assert_eq!((all.count("one-count"), one.count("count")), (2, 2));
    two.try_request("tools/list", json!({})).expect(404);
    // What is given back is found again.
    gateway.apply(&with(&rules(&["*"])));
    assert!(all.count("two-count") > 0);
}

#[test]
fn the_holder_of_a_token_is_judged_by_the_new_rules_and_issuers() {
    let issuer = Issuer::start();
    let of = |system: &Value| settings::merged(with(system), issuer.settings(json!({})));
    let gateway = Gateway::start_with(&of(&rules(&["one", "two"])));
    let bearer = format!("Bearer {}", issuer.token_with("ann", json!({})));
    let client = |path: &str| gateway.client(path).header("Authorization", &bearer);
    eventually("it is let in", || {
        (client("/mcp/one").try_initialize().status == 200).then_some(())
    });
    let (one, two) = (client("/mcp/one").initialize(), client("/mcp/two").initialize());
    let (of_one, of_two) = (one.listen(), two.listen());
    gateway.apply(&of(&rules(&["one"])));
    ends(of_two);
    two.try_request("tools/list", json!({})).expect(404);
    assert_eq!(one.count("count"), 1);
    // Without its issuer a token is worth nothing.
    gateway.apply(&with(&rules(&["one"])));
    ends(of_one);
    one.try_request("tools/list", json!({})).expect(401);
}

#[test]
fn a_reload_gives_nobody_anew_what_is_used_up() {
    let rates = |requests: u64| {
        json!({"limits": {"rates": [
            {"name": "few", "per": ["principal"], "requests": requests, "within": 3_600_000},
        ]}})
    };
    let gateway = Gateway::start_with(&with(&rates(2)));
    let ask = || {
        let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
        let request = Request::post("/mcp").header("Authorization", KEY);
        let request = request.header("Accept", "application/json, text/event-stream");
        request.json(&ping).send(gateway.address()).status
    };
    eventually("all is used up", || (ask() == 429).then_some(()));
    gateway.apply(&with(&rates(3)));
    assert_eq!(ask(), 429);
    gateway.apply(&with(&json!({})));
    assert_ne!(ask(), 429);
}
