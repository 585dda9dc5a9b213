//! Why sessions are where they are: `/api/cluster/explain` and `mooring explain`.

use mooring_tests::{Cluster, Gateway, Request, Session, Setup, Stateless, servers, settings};
use serde_json::{Value, json};

const EXPLAIN: &str = "/api/cluster/explain";

/// The decisions that a query finds, newest first.
#[track_caller]
fn decisions(gateway: &Gateway, query: &str) -> Vec<Value> {
    gateway.data(&format!("{EXPLAIN}{query}"))["decisions"].as_array().unwrap().clone()
}

fn request_id(session: &Session) -> String {
    session
        .response
        .header("x-request-id")
        .expect("the id of a request that was decided")
        .to_owned()
}

#[test]
fn a_decision_is_found_by_session_and_by_request() {
    let cluster = Cluster::of_two_equal_nodes(json!({}));
    let session = cluster.client("/mcp/counter").initialize();
    let other = cluster.client("/mcp/counter").initialize();
    let node = session.whoami("whoami").name;
    let affinity = cluster.coordinator.data(&format!("/api/cluster/sessions/{}", session.id));
    let uuid = affinity["sessionId"].as_str().unwrap();
    let id = request_id(&session);
    assert_ne!(id, request_id(&other));
    for query in [
        format!("?session={}", session.id),
        format!("?session={uuid}"),
        format!("?session={}", &uuid[..8]),
        format!("?session={}&server=counter", uuid[..8].to_uppercase()),
        format!("?request={id}"),
    ] {
        let found = decisions(&cluster.coordinator, &query);
        assert_eq!(found.len(), 1, "{query}: {found:?}");
        let seen = &found[0];
        assert_eq!(seen["session"], uuid[..8], "{seen}");
        assert_eq!((&seen["server"], &seen["request"]), (&json!("counter"), &json!(id)));
        assert_eq!((&seen["outcome"], &seen["node"]), (&json!("opened"), &json!(node)));
        let attempt = &seen["attempts"][0];
        assert_eq!((&attempt["by"], &attempt["node"]), (&json!("strategy"), &json!(node)));
        assert_eq!(attempt["answers"], json!([{"node": node, "usable": true}]));
        assert_eq!(attempt["strategy"]["name"], "consistent-hash", "{attempt}");
        assert!(attempt["strategy"]["generation"].as_u64().unwrap() > 0, "{attempt}");
        assert!(!attempt["strategy"]["version"].as_str().unwrap().is_empty());
        let of_session = json!({"name": "session-id", "state": "shown", "value": uuid[..8]});
        assert!(seen["inputs"].as_array().unwrap().contains(&of_session), "{seen}");
        let candidates = seen["candidates"].as_array().unwrap();
        let names: Vec<&str> = candidates.iter().map(|c| c["node"].as_str().unwrap()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(
            (&candidates[0]["health"], &candidates[0]["room"]),
            (&json!("healthy"), &json!("free"))
        );
    }
    let now = cluster.coordinator.data(&format!("{EXPLAIN}?session={uuid}"));
    assert_eq!(now["bindings"][0]["nodeId"], node, "{now}");
    assert_eq!(now["bindings"][0]["decidedHere"], true, "{now}");
    assert_eq!(decisions(&cluster.coordinator, "").len(), 2);
    assert_eq!(decisions(&cluster.coordinator, "?limit=1")[0]["request"], request_id(&other));
}

#[test]
fn a_bound_session_makes_no_decision_and_its_answers_name_none() {
    for path in ["/mcp/counter", "/mcp"] {
        let gateway =
            Gateway::start_with(&settings::standalone(json!({"counter": servers::counter()})));
        let session = gateway.client(path).header("X-Request-Id", "mine/1").initialize();
        let tool = if path == "/mcp" { "counter-count" } else { "count" };
        // On a scope of several servers the first call opens one.
        session.count(tool);
        let found = decisions(&gateway, "?request=mine/1");
        assert_eq!(found.len(), 1, "{path}: {found:?}");
        let later = session.try_request("tools/call", json!({"name": tool, "arguments": {}}));
        assert_eq!(later.header("x-request-id"), None);
        assert_eq!(decisions(&gateway, "").len(), 1);
    }
}

#[test]
fn the_clients_word_for_a_request_counts_if_it_is_plain() {
    let gateway =
        Gateway::start_with(&settings::standalone(json!({"counter": servers::counter()})));
    let client = |id: &str| gateway.client("/mcp/counter").header("X-Request-Id", id).initialize();
    assert_eq!(request_id(&client("trace-7:a")), "trace-7:a");
    for odd in ["<b>", "a b", &"x".repeat(129)] {
        let made = request_id(&client(odd));
        assert_eq!(made.len(), 36, "{made}");
        assert_eq!(decisions(&gateway, &format!("?request={made}")).len(), 1);
    }
}

#[test]
fn values_of_credentials_are_not_kept() {
    // The header that carries affinity is an input; the key of the gateway and others never show.
    let lock = json!({"systemConfig": {"routing": {
        "enableBearerAuth": true, "bearerAuthKey": "s3cret-of-the-lock",
    }}});
    let cluster = json!({"stickySession": {"strategy": "header"}});
    let settings = settings::merged(settings::coordinator(cluster), lock);
    let servers = json!({"mcpServers": {"counter": servers::counter()}});
    let gateway = Gateway::start_with(&settings::merged(settings, servers));
    let key = ("Authorization", "Bearer s3cret-of-the-lock");
    let client = gateway.client("/mcp/counter").header(key.0, key.1);
    let _ = client
        .header("Cookie", "sid=s3cret-of-a-cookie")
        .header("X-MCPHub-Node", "coordinator")
        .initialize();
    let answer = Request::get(EXPLAIN).header(key.0, key.1).send(gateway.address()).expect(200);
    assert_eq!(answer.json()["data"]["decisions"][0]["outcome"], "opened");
    assert!(!answer.text().contains("s3cret"), "{}", answer.text());
    gateway.get(EXPLAIN).expect(401);
}

#[test]
fn attempts_in_vain_are_told_with_their_reasons() {
    let broken = json!({"command": "sh", "args": ["-c", "echo no such zone >&2; exit 3"]});
    let gateway = Gateway::start_with(&settings::standalone(json!({"bad": broken})));
    let response = gateway.client("/mcp/bad").header("X-Request-Id", "r-bad").try_initialize();
    assert!(response.text().contains("no such zone"), "{}", response.text());
    assert_eq!(response.header("x-request-id"), Some("r-bad"), "a refusal names it, too");
    let found = decisions(&gateway, "?request=r-bad");
    let seen = &found[0];
    assert_eq!((&seen["outcome"], &seen["node"]), (&json!("refused"), &Value::Null), "{seen}");
    assert_eq!(seen["attempts"][0]["outcome"], "refused", "{seen}");
    assert!(!seen["attempts"][0]["reason"].as_str().unwrap().is_empty(), "{seen}");
    let last = seen["attempts"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["outcome"], &last["node"]), (&json!("no-node"), &Value::Null), "{seen}");
    assert!(!seen["why"].as_str().unwrap().is_empty(), "{seen}");
}

#[test]
fn a_component_that_fails_is_told_with_the_fallback() {
    let cluster = json!({"stickySession": {"strategy": settings::prebuilt("faults/traps.wasm")}});
    let servers = json!({"mcpServers": {"counter": servers::counter()}});
    let settings = settings::merged(settings::coordinator(cluster), servers);
    let gateway = Gateway::start_with(&settings);
    let session = gateway.client("/mcp/counter").header("X-Fault", "fault").initialize();
    let seen = &decisions(&gateway, &format!("?session={}", session.id))[0];
    let attempt = &seen["attempts"][0];
    assert_eq!(
        (&attempt["by"], &attempt["fallback"]),
        (&json!("fallback"), &json!("trap")),
        "{seen}"
    );
    assert_eq!(seen["outcome"], "opened", "{seen}");
}

#[test]
fn what_is_not_known_is_refused_with_a_sentence() {
    let gateway = Gateway::start_with(&settings::standalone(json!({})));
    for (query, status, part) in [
        ("?session=nonsense", 400, "8 digits"),
        ("?session=0a1b2c3d", 404, "No decision is known"),
        ("?session=6f1c7c5e-33b1-4c3f-9d6d-2d6d2f7a9b10", 404, "No decision is known"),
        ("?request=nobody", 404, "No decision is known"),
        ("?limit=many", 400, ""),
    ] {
        let response = gateway.get(&format!("{EXPLAIN}{query}")).expect(status);
        let body = response.json();
        assert_eq!(body["success"], false, "{query}");
        assert!(body["message"].as_str().unwrap().contains(part), "{query}: {body}");
    }
    assert_eq!(gateway.data(EXPLAIN), json!({"decisions": [], "bindings": []}));
}

#[test]
fn the_command_says_it_in_words() {
    let cluster = Cluster::of_two_equal_nodes(json!({}));
    let session = cluster.client("/mcp/counter").header("X-Request-Id", "r-1").initialize();
    let node = session.whoami("whoami").name;
    let url = cluster.coordinator.url();
    let run = |args: &[&str]| {
        let args = [&["explain", "--url", &url], args].concat();
        Setup::new(&json!({})).run(&args)
    };
    for args in [&["--request", "r-1"][..], &[&session.id], &[]] {
        let output = run(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        for part in [
            &*format!("server counter: opened at {node}"),
            "  request    r-1",
            "  inputs     session-id = ",
            "  candidates a: healthy, room free",
            &format!("  attempt 1  the strategy chose {node}, which opened it; consistent-hash "),
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
    }
    let json = run(&["--json", "--server", "counter"]);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["decisions"][0]["node"], node);
    let unknown = run(&["0a1b2c3d"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("No decision is known"));
}

#[test]
fn a_client_without_a_session_learns_the_id_of_its_request_too() {
    let settings = settings::merged(
        settings::standalone(json!({"counter": servers::counter()})),
        json!({"systemConfig": {"eras": ["legacy", "modern"]}}),
    );
    let gateway = Gateway::start_with(&settings);
    let client = Stateless::new(gateway.address(), "/mcp/counter");
    for given in [None, Some("its-own-77")] {
        let (mut request, _) = client.request("tools/call", json!({"name": "whoami"}));
        if let Some(given) = given {
            request = request.header("X-Request-Id", given);
        }
        let response = request.send(gateway.address()).expect(200);
        let id = response.header("x-request-id").expect("an id").to_owned();
        assert!(given.is_none_or(|given| given == id), "{id}");
        let found = gateway.data(&format!("{EXPLAIN}?request={id}"));
        assert_eq!(found["decisions"][0]["server"], "counter", "{found}");
    }
}
