//! Remote servers that want a bearer token.

use mooring_tests::scripted::{Asked, Out};
use mooring_tests::{Front, Gateway, OverSse, Scripted, Setup, eventually, settings};
use serde_json::{Value, json};

use crate::remote::upstreams::{SCOPES, ask, text};

const METADATA: &str = "https://far.example/.well-known/oauth-protected-resource/mcp";

fn challenge() -> String {
    format!("WWW-Authenticate: Bearer error=\"invalid_token\", resource_metadata=\"{METADATA}\"")
}

/// A server that wants this token.
fn locked(token: &'static str) -> Scripted {
    Scripted::start(move |asked, out| {
        if asked.header("authorization") == Some(&format!("Bearer {token}")) {
            return Some(out);
        }
        refuse(out);
        None
    })
}

fn refuse(out: Out) {
    out.reply("401 Unauthorized", &[&challenge()], b"{\"error\":\"secret words of the server\"}");
}

fn health(gateway: &Gateway) -> Option<Value> {
    let seen = gateway.data("/api/cluster/instances");
    seen["servers"].as_array()?.iter().find(|server| server["server"] == "far").cloned()
}

#[test]
fn the_token_in_the_file_is_sent() {
    let far = locked("abc-123");
    let by_entry = |more: Value| settings::merged(far.entry(), more);
    for entry in [
        by_entry(json!({"oauth": {"accessToken": "abc-123", "clientId": "x"}})),
        by_entry(
            json!({"oauth": {"accessToken": "other"}, "headers": {"authorization": "Bearer abc-123"}}),
        ),
        by_entry(
            json!({"type": "streamableHttp", "oauth": {"accessToken": "${FAR_TOKEN:-abc-123}"}}),
        ),
    ] {
        Front::each(&json!({"far": entry}), &json!({}), |front| {
            for (path, tool) in SCOPES {
                assert_eq!(text(&ask(&front.client(path).initialize(), tool)), "as usual");
            }
        });
    }
    for asked in far.all() {
        assert_eq!(asked.header("authorization"), Some("Bearer abc-123"), "{asked:?}");
    }
    let both =
        by_entry(json!({"oauth": {"accessToken": "t0ken"}, "headers": {"Authorization": "x"}}));
    let checked = Setup::new(&settings::standalone(json!({"far": both}))).run(&["check"]);
    let told = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(told.contains("mcpServers.far.oauth.accessToken: is not sent"), "{told}");
    assert!(!format!("{told}{}", String::from_utf8_lossy(&checked.stdout)).contains("t0ken"));
}

#[test]
fn a_server_that_wants_oauth_says_so_everywhere() {
    let far = locked("abc-123");
    for kind in ["streamable-http", "sse", "any"] {
        let mut entry = settings::merged(far.entry(), json!({"type": kind}));
        if kind == "any" {
            entry.as_object_mut().unwrap().remove("type");
        }
        Front::each(&json!({"far": entry}), &json!({}), |front| {
            let gateway = front.gateway();
            let opened = gateway.client("/mcp/far").try_initialize().json();
            let error = opened["error"]["message"].as_str().unwrap_or_else(|| panic!("{opened}"));
            assert!(error.contains("server far needs OAuth (401 Unauthorized)"), "{error}");
            assert!(error.contains(METADATA) && error.contains("oauth.accessToken"), "{error}");
            assert!(!error.contains("secret words"), "{error}");
            let mut over = OverSse::open(gateway.address(), "/sse/far");
            let params = json!({"protocolVersion": "2025-11-25", "capabilities": {},
                "clientInfo": {"name": "mooring-tests", "version": "1"}});
            let opened = over.answer("initialize", params);
            assert!(opened["error"].to_string().contains(METADATA), "{opened}");
            let state = eventually("the server's state", || {
                health(gateway).filter(|state| state["status"] == "needs-oauth")
            });
            assert!(state["lastError"].as_str().unwrap().contains(METADATA), "{state}");
        });
    }
}

#[test]
fn a_token_that_expires_during_a_session_is_told() {
    let far = Scripted::start(|asked: &Asked, out| {
        if asked.calls("tools/call") {
            refuse(out);
            return None;
        }
        Some(out)
    });
    Front::each(&json!({"far": far.entry()}), &json!({}), |front| {
        for (path, tool) in SCOPES {
            let answer = ask(&front.client(path).initialize(), tool);
            let error = answer["error"]["message"].as_str().unwrap_or_else(|| panic!("{answer}"));
            assert!(error.contains("server far needs OAuth (401"), "{error}");
            assert!(error.contains("does not suffice") && error.contains(METADATA), "{error}");
        }
    });
}

#[test]
fn other_refusals_are_about_credentials_and_a_recovery_is_seen() {
    for (status, header, part) in [
        (
            "401 Unauthorized",
            "WWW-Authenticate: Basic realm=\"x\"",
            "refuses the gateway's credentials",
        ),
        ("401 Unauthorized", "X-Y: z", "refuses the gateway's credentials"),
        ("403 Forbidden", "WWW-Authenticate: Bearer", "refuses the gateway's credentials"),
        ("401 Unauthorized", "WWW-Authenticate: Bearer realm=\"x\"", "needs OAuth"),
    ] {
        let far = Scripted::start(move |_, out| {
            out.reply(status, &[header], b"no");
            None
        });
        let gateway = Gateway::start_with(&settings::standalone(json!({"far": far.entry()})));
        let opened = gateway.client("/mcp/far").try_initialize().json();
        assert!(opened.to_string().contains(part), "{header}: {opened}");
    }
    let is_open = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let opens = std::sync::Arc::clone(&is_open);
    let far = Scripted::start(move |_, out| {
        if opens.load(std::sync::atomic::Ordering::Acquire) {
            return Some(out);
        }
        refuse(out);
        None
    });
    let gateway = Gateway::start_with(&settings::standalone(json!({"far": far.entry()})));
    eventually("it needs OAuth", || {
        health(&gateway).filter(|state| state["status"] == "needs-oauth")
    });
    is_open.store(true, std::sync::atomic::Ordering::Release);
    assert_eq!(text(&ask(&gateway.client("/mcp/far").initialize(), "ask")), "as usual");
    eventually("it is well", || health(&gateway).filter(|state| state["status"] == "running"));
}
