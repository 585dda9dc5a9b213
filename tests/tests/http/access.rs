//! Existing security settings are enforced, or the gateway does not start.

use mooring_tests::{Gateway, Request, servers};
use serde_json::{Value, json};

fn settings(routing: Value) -> Value {
    json!({
        "mcpServers": {"counter": servers::counter()},
        "systemConfig": {"routing": routing},
    })
}

#[test]
fn a_bearer_key_is_asked_for_on_mcp_and_on_the_api() {
    let bearer = json!({"enableBearerAuth": true, "bearerAuthKey": "k3y"});
    let gateway = Gateway::start_with(&settings(bearer));
    for wrong in [None, Some("Bearer wrong"), Some("Bearer "), Some("k3y"), Some("Basic k3y")] {
        let mut client = gateway.client("/mcp");
        let mut api = Request::get("/api/cluster/status");
        if let Some(wrong) = wrong {
            client = client.header("Authorization", wrong);
            api = api.header("Authorization", wrong);
        }
        let response = client.try_initialize().expect(401);
        assert_eq!(response.header("www-authenticate"), Some("Bearer"));
        let response = api.send(gateway.address()).expect(401).json();
        assert_eq!(response["success"], false);
        assert!(response["message"].as_str().unwrap().contains("Authorization: Bearer"));
    }
    let client = gateway.client("/mcp").header("Authorization", "Bearer k3y");
    assert_eq!(client.initialize().count("counter-count"), 1);
    let api = Request::get("/api/cluster/status").header("Authorization", "Bearer k3y");
    api.send(gateway.address()).expect(200);
    gateway.get("/health").expect(200);
}

#[test]
fn a_session_belongs_to_whoever_began_it() {
    let bearer = json!({"enableBearerAuth": true, "bearerAuthKey": "k3y"});
    let gateway = Gateway::start_with(&settings(bearer));
    let client = gateway.client("/mcp").header("Authorization", "Bearer k3y");
    let session = client.initialize();
    let (ping, _) = session.message("ping", json!({}));
    session.post(&ping).without("Authorization").send(gateway.address()).expect(401);
}

#[test]
fn the_global_route_can_be_switched_off() {
    let gateway = Gateway::start_with(&settings(json!({"enableGlobalRoute": false})));
    gateway.client("/mcp").try_initialize().expect(404);
    assert_eq!(gateway.client("/mcp/counter").initialize().count("count"), 1);
}
