//! Lists are whole, however a server pages them.

use mooring_tests::{Gateway, servers, settings};
use serde_json::json;

#[test]
fn an_aggregate_has_every_page_of_every_server() {
    let gateway = Gateway::start_with(&settings::standalone(json!({
        "counter": servers::in_pages(servers::counter(), 1),
        "clock": servers::in_pages(servers::clock(), 2),
        "notes": servers::in_pages(servers::notes(), 1),
    })));
    let session = gateway.client("/mcp").initialize();
    assert_eq!(session.tools().len(), 3 + 3 + 2);
    assert_eq!(session.list("prompts", "name").len(), 1);
    session.count("counter-count");
    session.call("clock-wait_with_progress", json!({"steps": 1, "ms": 1}));
}

#[test]
fn a_single_server_pages_as_it_always_did() {
    let counter = servers::in_pages(servers::counter(), 1);
    let gateway = Gateway::start_with(&settings::standalone(json!({"counter": counter})));
    let session = gateway.client("/mcp/counter").initialize();
    let first = session.request("tools/list", json!({}));
    assert_eq!(first["tools"].as_array().unwrap().len(), 1);
    assert!(first["nextCursor"].is_string());
    assert_eq!(session.tools(), ["count", "whoami", "reset"]);
}

#[test]
fn a_cursor_that_an_aggregate_never_gave_is_refused() {
    let counter = servers::counter();
    let gateway = Gateway::start_with(&settings::standalone(json!({"counter": counter})));
    let session = gateway.client("/mcp").initialize();
    let answer = session.answer("tools/list", json!({"cursor": "made-up"}));
    assert_eq!(answer["error"]["code"], -32602);
}
