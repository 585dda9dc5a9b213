//! Servers that could not be opened yet, so that nobody knows what they offer: who asks for anything of
//! theirs is told so, and neither that it does not exist nor that there is nothing.

use mooring_tests::{Front, Gateway, Stateless, servers, settings};
use serde_json::{Value, json};

use super::stateless;

/// Two that do not start, for reasons of their own, and one that does.
fn some() -> Value {
    json!({
        "counter": servers::counter(),
        "gone": {"command": "no-such-program-of-mooring"},
        "far": {"url": "http://127.0.0.1:9/mcp", "type": "http"},
    })
}

fn is_unavailable(answer: &Value, server: &str) -> bool {
    let error = &answer["error"];
    let text = error["message"].as_str().unwrap_or_default();
    error["code"] == -31002 && text.contains(&format!("server {server} is not available"))
}

#[test]
fn a_server_that_was_never_opened_is_not_available_rather_than_empty() {
    let eras = json!({"eras": ["legacy", "modern"]});
    Front::each(&some(), &eras, |front| {
        front.wait_until_discovered(&["counter"]);
        let session = front.client("/mcp").initialize();
        let all = Stateless::new(front.gateway().address(), "/mcp");
        for server in ["gone", "far"] {
            for (method, name) in [("tools/call", "ask"), ("prompts/get", "greet")] {
                let named = json!({"name": format!("{server}-{name}")});
                for answer in [session.answer(method, named.clone()), all.answer(method, named)] {
                    assert!(is_unavailable(&answer, server), "{method} {name}: {answer}");
                }
            }
            let one = Stateless::new(front.gateway().address(), &format!("/mcp/{server}"));
            for (method, params) in [
                ("tools/list", json!({})),
                ("prompts/list", json!({})),
                ("resources/list", json!({})),
                ("tools/call", json!({"name": "ask"})),
                ("prompts/get", json!({"name": "greet"})),
                ("resources/read", json!({"uri": "test://a"})),
            ] {
                let answer = one.answer(method, params);
                assert!(is_unavailable(&answer, server), "{method}: {answer}");
            }
        }
        for name in ["counter-none", "none-ask", "gone", "gone_ask"] {
            for answer in [
                session.answer("tools/call", json!({"name": name})),
                all.answer("tools/call", json!({"name": name})),
            ] {
                assert_eq!(answer["error"]["code"], -32602, "{name}: {answer}");
            }
        }
        assert_eq!(session.tools().len(), 3, "those of the others are listed");
    });
}

/// Lists that several servers share go without those of a server that does not start.
#[test]
fn lists_of_several_servers_do_not_wait_for_one_that_never_starts() {
    let system = json!({"systemConfig": {"eras": ["legacy", "modern"]}});
    let only = json!({"gone": {"command": "no-such-program-of-mooring"}});
    let gateway = Gateway::start_with(&settings::merged(settings::standalone(only), system));
    assert_eq!(gateway.client("/mcp").initialize().tools(), [""; 0]);
    let result = stateless(&gateway, "/mcp").result("tools/list", json!({}));
    assert_eq!(result["tools"], json!([]));
}
