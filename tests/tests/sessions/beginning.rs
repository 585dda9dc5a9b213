//! `initialize`: with a revision or without, and in a session that has begun already.

use mooring_tests::{Front, OverSse, servers, settings};
use serde_json::{Value, json};

/// Scopes that pass bytes through, and such that read them.
const SCOPES: [&str; 3] = ["counter", "hiding", ""];

fn each(test: impl Fn(&Front, &str)) {
    let hiding = settings::merged(servers::counter(), json!({"disabledTools": ["whoami"]}));
    let entries = json!({"counter": servers::counter(), "hiding": hiding});
    Front::each(&entries, &json!({}), |front| {
        front.wait_until_discovered(&["counter", "hiding"]);
        SCOPES.into_iter().for_each(|scope| test(front, scope));
    });
}

fn path(of: &str, scope: &str) -> String {
    if scope.is_empty() { of.to_owned() } else { format!("{of}/{scope}") }
}

fn again(id: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": {"name": "again", "version": "1"},
    }})
}

#[test]
fn a_session_begins_once_on_every_scope() {
    each(|front, scope| {
        let session = front.client(&path("/mcp", scope)).initialize();
        for revision in ["2025-11-25", "2025-06-18"] {
            let mut message = again("x");
            message["params"]["protocolVersion"] = json!(revision);
            let refused = session.post(&message).send(session.client.address()).expect(400).json();
            assert_eq!(refused["error"]["code"], -32600, "{scope}: {refused}");
            assert_eq!(refused["id"], "x", "{scope}: {refused}");
        }
        assert!(!session.tools().is_empty(), "{scope}: it goes on");
        let address = front.gateway().address();
        let mut over_sse = OverSse::initialize(address, &path("/sse", scope));
        let refused = over_sse.try_send(&again("y")).expect(400).json();
        assert_eq!(refused["error"]["code"], -32600, "{scope}: {refused}");
        assert_eq!(over_sse.answer_to(&json!("y")), refused, "{scope}");
        assert!(over_sse.request("tools/list", json!({}))["tools"].is_array(), "{scope}");
    });
}

#[test]
fn who_asks_for_no_revision_gets_the_newest() {
    each(|front, scope| {
        let own = json!({"capabilities": {}, "clientInfo": {"name": "c", "version": "1"}});
        for revision in [Value::Null, json!(20_250_618), json!(["2025-06-18"]), json!("")] {
            let mut params = own.clone();
            params["protocolVersion"] = revision.clone();
            if revision == json!("") {
                params.as_object_mut().unwrap().remove("protocolVersion");
            }
            let client = front.client(&path("/mcp", scope)).params(params.clone());
            let session = client.initialize();
            assert_eq!(session.result["protocolVersion"], "2025-11-25", "{scope} {revision}");
            let tools = session.tools();
            let tool = tools.iter().find(|tool| tool.ends_with("count")).unwrap();
            assert_eq!(session.count(tool), 1, "{scope} {revision}");
            let mut over_sse = OverSse::open(front.gateway().address(), &path("/sse", scope));
            let result = over_sse.begin_with(params);
            assert_eq!(result["protocolVersion"], "2025-11-25", "{scope} {revision}");
        }
        let client = front.client(&path("/mcp", scope)).params(json!([]));
        let refused = client.try_initialize().json();
        assert_eq!(refused["error"]["code"], -32602, "{scope}: {refused}");
    });
}
