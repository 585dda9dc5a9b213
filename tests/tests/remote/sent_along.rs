//! Headers of requests to an upstream: cookies, and those client headers that the operator lets
//! through.

use std::sync::{Arc, Mutex};

use mooring_tests::scripted::Asked;
use mooring_tests::{Front, Scripted, Session, settings};
use serde_json::json;

use crate::remote::upstreams::{SCOPES, answer_to, ask, gateway, text};

#[test]
fn cookies_are_each_sessions_own() {
    let far = Scripted::start(|asked, out| {
        if asked.rpc() == "initialize" {
            let who = asked.json()["params"]["clientInfo"]["version"].as_str().unwrap().to_owned();
            let session = format!("Mcp-Session-Id: client-{who}");
            let cookies =
                [format!("Set-Cookie: lb={who}; Path=/; HttpOnly"), "Set-Cookie: gone=1".into()];
            let headers = [session.as_str(), &cookies[0], &cookies[1]];
            out.initialize(asked, &headers);
            return None;
        }
        if asked.calls("tools/call") {
            let body = answer_to(asked, asked.header("cookie").unwrap_or("none")).to_string();
            let headers = ["Content-Type: application/json", "Set-Cookie: gone=; Max-Age=0"];
            out.reply("200 OK", &headers, body.as_bytes());
            return None;
        }
        Some(out)
    });
    let front = Front::alone(&json!({"far": far.entry()}), &json!({}));
    for (path, tool) in SCOPES {
        let open = |version: &str| {
            let params = json!({
                "protocolVersion": "2025-11-25", "capabilities": {},
                "clientInfo": {"name": "mooring-tests", "version": version},
            });
            // The client's own cookie is not sent upstream.
            front.client(path).header("Cookie", "own=secret").params(params).initialize()
        };
        let sessions: Vec<(String, Session)> =
            (1..=3).map(|n| format!("v{n}")).map(|v| (v.clone(), open(&v))).collect();
        for (version, session) in &sessions {
            assert_eq!(text(&ask(session, tool)), format!("gone=1; lb={version}"));
        }
        for (version, session) in sessions.iter().rev() {
            assert_eq!(text(&ask(session, tool)), format!("lb={version}"), "{path}");
        }
    }
}

#[test]
fn what_a_client_sends_along_ends_at_the_gateway_but_for_what_the_operator_lets_through() {
    let (plain, open) = (Scripted::start(|_, out| Some(out)), Scripted::start(|_, out| Some(out)));
    let servers = json!({
        "plain": settings::merged(plain.entry(), json!({"headers": {"X-Own": "configured"}})),
        "open": settings::merged(open.entry(), json!({"passthroughHeaders": ["X-Tenant", "Authorization"]})),
    });
    Front::each(&servers, &json!({}), |front| {
        for path in ["/mcp", "/mcp/plain", "/mcp/open"] {
            let client = front
                .client(path)
                .header("Authorization", "Bearer of-the-client")
                .header("Cookie", "own=secret")
                .header("X-Tenant", "acme")
                .header("X-Other", "other")
                .header("X-Own", "forged")
                .header("mooring-session", "forged");
            let session = client.initialize();
            let tools: &[&str] = if path == "/mcp" { &["plain-ask", "open-ask"] } else { &["ask"] };
            for tool in tools {
                assert_eq!(text(&ask(&session, tool)), "as usual");
            }
            drop(session.listen());
            session.delete().expect(200);
        }
        for asked in plain.seen() {
            let headers = ["authorization", "cookie", "x-tenant", "x-other", "mooring-session"];
            for name in headers {
                assert_eq!(asked.header(name), None, "{name}: {asked:?}");
            }
            assert_eq!(asked.header("x-own"), Some("configured"));
        }
        let seen = open.seen();
        let calls: Vec<&Asked> = seen.iter().filter(|asked| asked.calls("tools/call")).collect();
        assert!(!calls.is_empty());
        for asked in calls {
            assert_eq!(asked.header("x-tenant"), Some("acme"));
            assert_eq!(asked.header("authorization"), Some("Bearer of-the-client"));
        }
        for asked in seen.iter().filter(|asked| asked.rpc() == "initialize") {
            assert_eq!(asked.header("x-tenant"), Some("acme"), "an opening carries them too");
        }
        for asked in &seen {
            for name in ["cookie", "x-other", "x-own", "mooring-session"] {
                assert_eq!(asked.header(name), None, "{name}: {asked:?}");
            }
        }
    });
}

#[test]
fn all_of_a_session_carries_what_the_operator_lets_through() {
    for (path, tool) in SCOPES {
        let call: Arc<Mutex<Option<Asked>>> = Arc::default();
        let far = Scripted::start({
            let call = Arc::clone(&call);
            move |asked, out| {
                if asked.calls("tools/call") {
                    *call.lock().unwrap() = Some(asked.clone());
                    let mut out = out.events();
                    out.event(&json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}));
                    out.event(&json!({"jsonrpc": "2.0", "id": 2, "method": "elicitation/create",
                        "params": {"message": "?", "requestedSchema": {"type": "object"}}}));
                    out.write(b"id: e-1\nretry: 1\ndata: \n\n");
                    return None;
                }
                if asked.method == "GET" && asked.header("last-event-id") == Some("e-1") {
                    let call = call.lock().unwrap().clone().unwrap();
                    out.events().event(&answer_to(&call, "the rest"));
                    return None;
                }
                if asked.method == "GET" {
                    out.events().wait_for_end();
                    return None;
                }
                Some(out)
            }
        });
        let headers = json!({"passthroughHeaders": ["Authorization"]});
        let gateway = gateway(&settings::merged(far.entry(), headers));
        let client = gateway.client(path).header("Authorization", "Bearer of-the-client");
        let session = client.initialize();
        let (mut stream, id) = session.start(tool, json!({}), json!({}));
        let question = stream.message(|message| message["method"] == "elicitation/create");
        assert_eq!(text(&stream.message(|message| message["id"] == id)), "the rest");
        session.reply(&question["id"], json!({"action": "decline"}));
        let _listening = session.listen();
        far.wait_for("the GET stream", |asked| {
            asked.method == "GET" && asked.header("last-event-id").is_none()
        });
        session.notify("notifications/roots/list_changed", json!({})).expect(202);
        session.delete().expect(200);
        far.wait_for("the good-bye", |asked| asked.method == "DELETE" && asked.is_of_client());
        let answers = |id: i64| {
            move |asked: &Asked| asked.json()["id"] == id && asked.json().get("result").is_some()
        };
        far.wait_for("the answer to the ping", answers(1));
        far.wait_for("the answer to the question", answers(2));
        for asked in far.seen() {
            let authorization = asked.header("authorization");
            assert_eq!(authorization, Some("Bearer of-the-client"), "{path}: {asked:?}");
        }
    }
}
