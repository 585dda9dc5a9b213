//! Headers of requests to an upstream: cookies, and those client headers that the operator lets
//! through.

use std::sync::{Arc, Mutex};

use mooring_tests::fake_node::Says;
use mooring_tests::scripted::Asked;
use mooring_tests::{Front, Gateway, OverSse, Scripted, Session, settings};
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
    let passes = json!({"passthroughHeaders": {"open": ["Authorization"]}});
    Front::each(&servers, &json!({"cluster": {"coordinator": passes}}), |front| {
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

/// The headers that credentials come in, and one that carries none.
const WANTED: [&str; 6] =
    ["Authorization", "Cookie", "X-Api-Key", "X-Auth-Token", "Mooring-Session", "X-Tenant"];

#[test]
fn a_node_gets_no_credential_by_asking_for_it() {
    let far = Scripted::start(|_, out| Some(out));
    let wanted: Vec<&str> =
        WANTED.into_iter().filter(|name| !name.starts_with("Mooring")).collect();
    let servers =
        json!({"far": settings::merged(far.entry(), json!({"passthroughHeaders": wanted}))});
    let front = Front::cluster(&servers, &json!({}));
    for path in ["/mcp", "/mcp/far", "/sse/far"] {
        let tool = if path == "/mcp" { "far-ask" } else { "ask" };
        if let Some(path) = path.strip_prefix("/sse") {
            let path = format!("/sse{path}");
            let sent = [
                ("Authorization", "Bearer of-the-client"),
                ("Cookie", "own=of-the-client"),
                ("X-Api-Key", "of-the-client"),
            ];
            let mut over = OverSse::open_with(front.gateway().address(), &path, &sent);
            over.begin();
            let params = json!({"name": tool, "arguments": {}});
            let _ = over.request("tools/call", params);
            continue;
        }
        let mut client = front.client(path);
        for name in WANTED {
            client = client.header(name, "of-the-client");
        }
        let session = client.initialize();
        assert_eq!(text(&ask(&session, tool)), "as usual");
        drop(session.listen());
        session.delete().expect(200);
    }
    for asked in far.all() {
        for name in WANTED.into_iter().filter(|name| *name != "X-Tenant") {
            assert_eq!(asked.header(name), None, "{name}: {asked:?}");
        }
    }
    let seen = far.seen();
    let calls: Vec<&Asked> = seen.iter().filter(|asked| asked.calls("tools/call")).collect();
    assert!(calls.iter().any(|asked| asked.header("x-tenant") == Some("of-the-client")));
    let line = front.gateway().wait_for_log("asks for the clients' authorization header");
    assert!(line.contains("passthroughHeaders") && line.contains("far"), "{line}");
}

#[test]
fn a_lying_node_gets_neither_credentials_nor_a_sessions_id() {
    let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    let node = Says::default().start("liar");
    // What manages a connection or a stream is no credential, and passes as little.
    let others = ["mcp-session-id", "last-event-id", "keep-alive", "te", "proxy-connection"];
    let more: Vec<&str> = WANTED.into_iter().chain(others).collect();
    let servers = json!([{"name": "A", "passthrough": more}]);
    node.register(&coordinator, servers, json!({})).expect(200);
    let client = coordinator
        .client("/mcp/A")
        .header("Authorization", "Bearer of-the-client")
        .header("Cookie", "own=of-the-client")
        .header("Last-Event-ID", "of-the-client")
        .header("Keep-Alive", "of-the-client")
        .header("TE", "of-the-client")
        .header("Proxy-Connection", "of-the-client")
        .header("X-Tenant", "acme");
    let session = client.initialize();
    let _ = session.answer("tools/list", json!({}));
    let list = node.wait_for("the list", |asked| asked.rpc() == "tools/list");
    assert_eq!(list.header("mooring-client-x-tenant"), Some("acme"));
    for asked in node.seen() {
        for name in ["authorization", "cookie", "mcp-session-id", "mooring-session"] {
            assert_eq!(asked.header(&format!("mooring-client-{name}")), None, "{asked:?}");
        }
        let line = format!("{asked:?}");
        assert!(!line.contains("of-the-client"), "{line}");
    }
}

#[test]
fn the_key_that_the_gateway_consumes_reaches_no_server() {
    const KEY: &str = "the-key-of-the-gateway";
    let far = Scripted::start(|_, out| Some(out));
    let names = json!(["Authorization", "Cookie", "X-Api-Key", "X-MCPHub-Node"]);
    let servers =
        json!({"far": settings::merged(far.entry(), json!({"passthroughHeaders": names}))});
    let routing = json!({"routing": {"enableBearerAuth": true, "bearerAuthKey": KEY}});
    let alone = Front::alone(&servers, &routing);
    let word =
        settings::coordinator(json!({"coordinator": {"passthroughHeaders": {"far": names}}}));
    let locked = settings::merged(word, json!({"systemConfig": routing}));
    let coordinator = Gateway::start_with(&locked);
    let _node =
        Gateway::start_with(&settings::node(coordinator.port(), json!({"id": "n"}), servers));
    coordinator.wait_for_log("Node registered:");
    for gateway in [alone.gateway(), &coordinator] {
        for path in ["/mcp", "/mcp/far"] {
            let client = gateway
                .client(path)
                .header("Authorization", &format!("Bearer {KEY}"))
                .header("Cookie", &format!("own=1; MCPHUB_NODE=n; k={KEY}"))
                .header("X-Api-Key", KEY)
                .header("X-MCPHub-Node", "n");
            let session = client.initialize();
            let tool = if path == "/mcp" { "far-ask" } else { "ask" };
            assert_eq!(text(&ask(&session, tool)), "as usual");
        }
    }
    let seen = far.seen();
    let calls: Vec<&Asked> = seen.iter().filter(|asked| asked.calls("tools/call")).collect();
    assert_eq!(calls.len(), 4);
    assert!(calls.iter().all(|asked| asked.header("cookie") == Some("own=1")), "{calls:?}");
    for asked in far.all() {
        assert!(!format!("{asked:?}").contains(KEY), "{asked:?}");
        assert_eq!(asked.header("x-mcphub-node"), None);
    }
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
