//! Saved state that cannot be used: the session goes on, and its client is told what is missing.

use std::sync::Arc;

use mooring_tests::odd_server::answer;
use mooring_tests::{Front, Gateway, OddServer, Way, eventually, settings};
use serde_json::json;

use super::kept_texts::{
    Kept, all, by_tools, kill_all, kill_servers, metric, notice, play, with_state,
};

/// The played server, whose tool that saves answers with this result, as it is written.
fn saver(kept: Kept, result: String) -> OddServer {
    let result: Arc<str> = result.into();
    OddServer::start(Way::Stdio, move |session, message, say| {
        if message["params"]["name"] == "export" {
            let id = &message["id"];
            say(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{result}}}"));
        } else {
            play(&kept, session, message, say);
        }
    })
}

/// What has become of savings until now, whether they have failed or not.
fn tried(gateway: &Gateway) -> u64 {
    metric(gateway, "state_saved_total") + metric(gateway, "state_failed_total")
}

fn text_of(text: &str) -> String {
    json!({"content": [{"type": "text", "text": text}]}).to_string()
}

#[test]
fn a_saved_state_that_is_too_large_or_cannot_be_read_is_named_and_the_session_goes_on() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let structured = |value: &str| format!("{{\"content\":[],\"structuredContent\":{value}}}");
    let large = json!({"texts": ["x".repeat(10_000)]}).to_string();
    let cases: [(String, &str); 9] = [
        (structured(&large), "1 call made after it was last saved"),
        (text_of(&large), "1 call made after it was last saved"),
        (text_of("no { JSON"), "what it had saved (what was saved has no /texts)"),
        (text_of(""), "what it had saved (what was saved has no /texts)"),
        (text_of(&deep(400)), "what it had saved (what was saved has no /texts)"),
        (structured(&format!("{{\"texts\":{}}}", deep(400))), "not restored: "),
        (structured("17"), "what it had saved (what was saved has no /texts)"),
        ("null".to_owned(), "not restored: "),
        ("{\"isError\":true,\"content\":[]}".to_owned(), "1 call made after it was last saved"),
    ];
    for (result, expect) in cases {
        let kept = Kept::default();
        let server = saver(kept.clone(), result.clone());
        let mut state = by_tools(100);
        state["maxBytes"] = 2048.into();
        let entries = json!({"odd": with_state(server.entry(), state)});
        let gateway = Gateway::start_with(&settings::standalone(entries));
        let session = gateway.client("/mcp/odd").initialize();
        session.call("push", json!({"text": "a"}));
        eventually("it is tried", || (tried(&gateway) >= 1).then_some(()));
        kill_all(&gateway);
        let shown = &result[..result.len().min(60)];
        assert_eq!(all(&session), json!([]), "{shown}");
        let (level, text) = notice(&mut session.listen());
        assert_eq!(level, "warning", "{shown}: {text}");
        assert!(text.contains(expect) && text.len() < 1000, "{shown}: {text}");
        assert!(metric(&gateway, "state_bytes") < 10_000, "{shown}");
        session.call("push", json!({"text": "b"}));
        assert_eq!(all(&session), json!(["b"]), "{shown}");
    }
}

#[test]
fn a_state_that_the_server_refuses_is_named_with_its_reason() {
    let kept = Kept::default();
    let server = OddServer::start(Way::Stdio, {
        let kept = kept.clone();
        move |session, message, say| {
            if message["params"]["name"] == "import" {
                let texts = &message["params"]["arguments"]["texts"];
                let text = format!("cannot take {texts}");
                let content = json!([{"type": "text", "text": text}]);
                say(answer(message, &json!({"isError": true, "content": content})));
            } else {
                play(&kept, session, message, say);
            }
        }
    });
    let entries = json!({"odd": with_state(server.entry(), by_tools(100))});
    Front::each(&entries, &json!({}), |front| {
        let session = front.client("/mcp/odd").initialize();
        session.call("push", json!({"text": "a"}));
        let gateway = front.gateway();
        eventually("it is saved", || (tried(gateway) >= 1).then_some(()));
        kill_servers(front.processes());
        assert_eq!(all(&session), json!([]));
        let (level, text) = notice(&mut session.listen());
        assert_eq!(level, "warning", "{text}");
        assert!(text.contains("what it had saved (cannot take"), "{text}");
    });
}
