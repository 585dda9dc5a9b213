//! Servers that refuse a user's token in the middle of a session: it is renewed and the call done once,
//! whatever the transport, and however late the refusal comes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mooring_tests::authorization_server::invited;
use mooring_tests::scripted::{Asked, Out};
use mooring_tests::{
    AuthorizationServer, Cluster, Gateway, OddServer, OverSse, Scripted, Session, Stateless, Way,
    eventually, settings,
};
use serde_json::{Value, json};

use super::logins::{
    ANN, TOOL, callers, client, entry, far, far_state, gateway, keys, log_in, opens_urls, session,
};
use crate::remote::upstreams::{ask, text};

/// Has a user log in at a gateway alone, and then in a cluster, and goes on there.
fn everywhere(issuer: &AuthorizationServer, server: &Value, go_on: impl Fn(&Session)) {
    everywhere_at(issuer, server, |_, session| go_on(session));
}

/// The same, with the gateway.
fn everywhere_at(issuer: &AuthorizationServer, server: &Value, go_on: impl Fn(&Gateway, &Session)) {
    let in_session = |front: &Gateway| {
        let opener = opens_urls(client(front, "/mcp/far", ANN));
        eventually("the server is there", || (opener.try_initialize().status == 200).then_some(()));
        let session = opener.initialize();
        log_in(front, issuer, &session, "ann");
        go_on(front, &session);
    };
    let alone = settings::standalone(json!({"far": server}));
    in_session(&Gateway::start_with(&settings::merged(alone, keys())));
    let off = settings::merged(server.clone(), json!({"enabled": false}));
    let coordinator = settings::merged(settings::coordinator(json!({})), keys());
    let off = json!({"mcpServers": {"far": off}});
    let coordinator = Gateway::start_with(&settings::merged(coordinator, off));
    let mut cluster = Cluster { coordinator, nodes: Vec::new() };
    cluster.add("n1", json!({"far": server}));
    in_session(&cluster.coordinator);
}

/// A call whose stream the client has got before the server refuses it: what comes on the stream.
#[track_caller]
fn late(issuer: &AuthorizationServer, session: &Session) -> Value {
    issuer.hold_refusals();
    let (mut stream, id) = session.start("ask", json!({}), json!({}));
    assert_eq!(stream.header("content-type"), Some("text/event-stream"), "it takes long");
    issuer.let_refusals_go();
    stream.message(|message| message["id"] == id && message.get("method").is_none())
}

#[test]
fn a_token_that_is_refused_late_is_renewed_and_the_call_is_done_once() {
    let issuer = AuthorizationServer::start();
    let far = far(&issuer);
    everywhere(&issuer, &entry(&far, json!({})), |session| {
        let (served, granted) = (callers(&issuer, &far).len(), issuer.grants().len());
        issuer.revoke_access();
        assert_eq!(text(&late(&issuer, session)), "as usual");
        let calls = callers(&issuer, &far);
        assert_eq!(calls[served..], [None, Some("ann".to_owned())], "refused, then done");
        assert_eq!(issuer.grants().len(), granted + 1);
        // One that no other token helps is told with where to log in, on the stream too.
        issuer.revoke_all();
        let (url, _) = invited(&late(&issuer, session));
        assert!(url.contains("/oauth/login?id="), "{url}");
        assert_eq!(callers(&issuer, &far).len(), calls.len() + 1);
    });
}

#[test]
fn a_token_that_is_refused_over_http_and_sse_is_renewed_in_the_same_session() {
    let issuer = AuthorizationServer::start();
    let far = OddServer::guarded(Way::Sse, None, issuer.guard());
    everywhere(&issuer, &entry(&far, json!({})), |session| {
        assert_eq!(text(&ask(session, "ask")), "as usual");
        let opened = far.opened();
        issuer.revoke_access();
        assert_eq!(text(&ask(session, "ask")), "as usual");
        issuer.revoke_access();
        assert_eq!(text(&late(&issuer, session)), "as usual");
        assert_eq!(far.opened(), opened, "the session goes on");
        issuer.revoke_all();
        let _ = invited(&ask(session, "ask"));
    });
}

#[test]
fn a_client_over_http_and_sse_logs_in_and_goes_on() {
    let issuer = AuthorizationServer::start();
    let far = far(&issuer);
    let gateway = gateway(&far, json!({}));
    let key = format!("Bearer {ANN}");
    let mut session = OverSse::open_with(gateway.address(), "/sse/far", &[("Authorization", &key)]);
    session.begin();
    let error = session.answer("tools/call", json!({"name": TOOL, "arguments": {}}));
    let words = error["error"]["message"].as_str().unwrap_or_else(|| panic!("{error}")).to_owned();
    let url = words.split_whitespace().find(|word| word.starts_with("http")).unwrap();
    issuer.log_in(&gateway, "ann", url).expect(200);
    session.wait_for(|message| message["method"] == "notifications/elicitation/complete");
    session.wait_for(|message| message["method"] == "notifications/tools/list_changed");
    let listed = session.request("tools/list", json!({}));
    assert_eq!(listed["tools"][0]["name"], "ask", "{listed}");
    session.call("ask", json!({}));
    issuer.revoke_access();
    session.call("ask", json!({}));
    assert_eq!(issuer.grants(), ["authorization_code", "refresh_token"]);
    issuer.revoke_access();
    issuer.hold_refusals();
    let id = session.ask("tools/call", json!({"name": "ask", "arguments": {}}));
    eventually("the call is under way", || (callers(&issuer, &far).len() == 4).then_some(()));
    issuer.let_refusals_go();
    assert_eq!(text(&session.answer_to(&id)), "as usual");
}

#[test]
fn a_stream_that_ends_is_opened_again_with_the_token_of_then() {
    let issuer = AuthorizationServer::start();
    let guard = issuer.guard();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let ended = std::sync::Mutex::new(ended);
    let streams = std::sync::atomic::AtomicUsize::new(0);
    let far = Scripted::start(move |asked, out| {
        let out = guard(asked, out)?;
        if asked.method != "GET" {
            out.as_usual(asked);
            return None;
        }
        let mut out = out.events();
        if streams.fetch_add(1, std::sync::atomic::Ordering::AcqRel) == 0 {
            // It ends when the test says so.
            let _ = ended.lock().map(|ended| ended.recv());
            return None;
        }
        let params = json!({"level": "error", "data": "heard"});
        out.event(&json!({
            "jsonrpc": "2.0", "method": "notifications/message", "params": params,
        }));
        out.wait_for_end();
        None
    });
    let oauth = json!({"oauth": {"grant": "authorization-code"}, "type": "streamable-http"});
    let server = settings::merged(far.entry(), oauth);
    let alone = settings::merged(settings::standalone(json!({"far": server})), keys());
    let gateway = Gateway::start_with(&alone);
    let session = session(&gateway, ANN);
    log_in(&gateway, &issuer, &session, "ann");
    let mut stream = session.listen();
    far.wait_for("the gateway's stream", |asked| {
        asked.method == "GET" && asked.header("authorization").is_some()
    });
    issuer.revoke_access();
    assert_eq!(text(&ask(&session, "ask")), "as usual");
    end.send(()).unwrap();
    let heard = stream.message(|message| message["method"] == "notifications/message");
    assert_eq!(heard["params"]["data"], "heard");
}

/// A server whose tools want more than users are asked for at first, until that is granted.
#[derive(Clone, Default)]
struct MoreWanted {
    granted: Arc<AtomicBool>,
    /// Held while a refusal is to come late.
    gate: Arc<Mutex<()>>,
}

impl MoreWanted {
    fn guard(
        &self,
        issuer: &AuthorizationServer,
        challenge: &'static str,
    ) -> impl Fn(&Asked, Out) -> Option<Out> + Send + Sync + 'static + use<> {
        let (this, guard) = (self.clone(), issuer.guard());
        move |asked, out| {
            let out = guard(asked, out)?;
            if asked.rpc() != "tools/call" || this.granted.load(Ordering::Acquire) {
                return Some(out);
            }
            drop(this.gate.lock());
            let challenge = format!("WWW-Authenticate: Bearer {challenge}");
            out.reply("403 Forbidden", &[&challenge], b"no");
            None
        }
    }

    /// What becomes of calls of a session whose user has logged in.
    fn try_out(&self, issuer: &AuthorizationServer, gateway: &Gateway, session: &Session) {
        self.granted.store(false, Ordering::Release);
        let refused = ask(session, "ask");
        let (url, _) = invited(&refused);
        assert!(refused.to_string().contains("mcp.write"), "{refused}");
        assert_eq!(invited(&ask(session, "ask")).0, url, "it is the same login");
        // What the token is good for goes on meanwhile.
        let granted = issuer.grants().len();
        assert!(session.tools().contains(&"ask".to_owned()));
        assert_eq!(issuer.grants().len(), granted, "no other token helps");
        self.granted.store(true, Ordering::Release);
        issuer.log_in(gateway, "ann", &url).expect(200);
        assert_eq!(issuer.scopes().last().unwrap(), "mcp.call mcp.write");
        assert_eq!(text(&ask(session, "ask")), "as usual");
        // Where it is not granted all the same, no user is asked without end.
        self.granted.store(false, Ordering::Release);
        let error = ask(session, "ask")["error"].clone();
        assert_eq!(error["code"], -31002, "{error}");
        assert!(error["message"].as_str().unwrap().contains("were not granted"), "{error}");
    }
}

const LACKS: &str = "error=\"insufficient_scope\", scope=\"mcp.write\"";

#[test]
fn a_user_is_asked_for_what_a_token_is_not_good_for() {
    for way in [Way::Http, Way::Sse] {
        let (issuer, more) = (AuthorizationServer::start(), MoreWanted::default());
        let far = OddServer::guarded(way, None, more.guard(&issuer, LACKS));
        let server = entry(&far, json!({}));
        everywhere_at(&issuer, &server, |gateway, session| {
            more.try_out(&issuer, gateway, session);
        });
    }
    let (issuer, more) = (AuthorizationServer::start(), MoreWanted::default());
    let far = modern(more.guard(&issuer, LACKS));
    let oauth = json!({"oauth": {"grant": "authorization-code"}, "type": "streamable-http"});
    let server = settings::merged(far.entry(), oauth);
    everywhere_at(&issuer, &server, |gateway, session| more.try_out(&issuer, gateway, session));
}

#[test]
fn a_user_is_asked_for_more_on_a_stream_that_has_begun() {
    let (issuer, more) = (AuthorizationServer::start(), MoreWanted::default());
    let far = OddServer::guarded(Way::Http, None, more.guard(&issuer, LACKS));
    everywhere_at(&issuer, &entry(&far, json!({})), |gateway, session| {
        more.granted.store(false, Ordering::Release);
        let held = more.gate.lock().unwrap();
        let (mut stream, id) = session.start("ask", json!({}), json!({}));
        assert_eq!(stream.header("content-type"), Some("text/event-stream"), "it takes long");
        drop(held);
        let is_answer = |message: &Value| message["id"] == id && message.get("method").is_none();
        let (url, _) = invited(&stream.message(is_answer));
        more.granted.store(true, Ordering::Release);
        issuer.log_in(gateway, "ann", &url).expect(200);
        assert_eq!(issuer.scopes().last().unwrap(), "mcp.call mcp.write");
        assert_eq!(text(&ask(session, "ask")), "as usual");
    });
}

#[test]
fn a_client_that_opens_no_urls_is_told_where_its_user_allows_more() {
    let (issuer, more) = (AuthorizationServer::start(), MoreWanted::default());
    let far = OddServer::guarded(Way::Http, None, more.guard(&issuer, LACKS));
    let gateway = gateway(&far, json!({}));
    log_in(&gateway, &issuer, &session(&gateway, ANN), "ann");
    let plain = client(&gateway, "/mcp/far", ANN).initialize();
    let error = ask(&plain, "ask")["error"].clone();
    assert_eq!(error["code"], -31002, "{error}");
    let words = error["message"].as_str().unwrap();
    for part in ["once more", "\"mcp.write\"", "open http", "/oauth/login?id="] {
        assert!(words.contains(part), "{part}: {words}");
    }
}

#[test]
fn a_refusal_that_names_no_scopes_is_told_with_what_to_do() {
    for challenge in ["error=\"insufficient_scope\"", "resource_metadata=\"http://127.0.0.1/m\""] {
        let (issuer, more) = (AuthorizationServer::start(), MoreWanted::default());
        let far = OddServer::guarded(Way::Http, None, more.guard(&issuer, challenge));
        let gateway = gateway(&far, json!({}));
        let session = session(&gateway, ANN);
        log_in(&gateway, &issuer, &session, "ann");
        let error = ask(&session, "ask").to_string();
        for part in ["this client's user", "asked to log in again"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert!(!error.contains("accessToken") && !error.contains("-32042"), "{error}");
    }
}

#[test]
fn nobody_waits_for_an_issuer_while_a_token_is_good() {
    let issuer = AuthorizationServer::start();
    let far = far(&issuer);
    let gateway = gateway(&far, json!({}));
    let session = session(&gateway, ANN);
    issuer.set_lifetime(Duration::from_secs(10));
    log_in(&gateway, &issuer, &session, "ann");
    issuer.hold_tokens();
    eventually("a renewal has begun", || {
        assert_eq!(text(&ask(&session, "ask")), "as usual");
        (issuer.grants().len() == 2).then_some(())
    });
    // The token is good for two more seconds.
    assert_eq!(text(&ask(&session, "ask")), "as usual");
    assert_eq!(issuer.grants().len(), 2, "one renews it");
    issuer.set_lifetime(Duration::from_secs(600));
    issuer.let_tokens_go();
    assert_eq!(text(&ask(&session, "ask")), "as usual");
}

/// A server of the revision without sessions, which answers nobody without a token.
fn modern(guard: impl Fn(&Asked, Out) -> Option<Out> + Send + Sync + 'static) -> Scripted {
    Scripted::start(move |asked, out| {
        let out = guard(asked, out)?;
        let (message, common) = (asked.json(), json!({"resultType": "complete"}));
        let result = match asked.rpc().as_str() {
            "server/discover" => json!({
                "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}},
                "serverInfo": {"name": "modern", "version": "1"}, "ttlMs": 0, "cacheScope": "private",
            }),
            "tools/list" => json!({
                "tools": [{"name": "ask", "inputSchema": {"type": "object"}}], "ttlMs": 0,
                "cacheScope": "private",
            }),
            "tools/call" => json!({"content": [{"type": "text", "text": "as usual"}]}),
            _ => {
                let error = json!({
                    "code": -32022, "message": "Unsupported protocol version",
                    "data": {"supported": ["2026-07-28"], "requested": "2025-11-25"},
                });
                let body = json!({"jsonrpc": "2.0", "id": message["id"], "error": error});
                let headers = ["Content-Type: application/json"];
                out.reply("400 Bad Request", &headers, body.to_string().as_bytes());
                return None;
            }
        };
        out.result(asked, &settings::merged(common, result));
        None
    })
}

#[test]
fn a_server_without_sessions_serves_each_user_and_its_refusals_are_renewed() {
    let issuer = AuthorizationServer::start();
    let far = modern(issuer.guard());
    for more in [json!({}), json!({"era": "modern"})] {
        let oauth = json!({"oauth": {"grant": "authorization-code"}, "type": "streamable-http"});
        let server = settings::merged(settings::merged(far.entry(), oauth), more);
        everywhere(&issuer, &server, |session| {
            assert_eq!(text(&ask(session, "ask")), "as usual");
            let granted = issuer.grants().len();
            issuer.revoke_access();
            assert_eq!(text(&ask(session, "ask")), "as usual");
            issuer.revoke_access();
            assert_eq!(text(&late(&issuer, session)), "as usual");
            assert_eq!(issuer.grants().len(), granted + 2);
            issuer.revoke_all();
            let _ = invited(&ask(session, "ask"));
        });
    }
}

#[test]
fn a_client_without_a_session_gets_a_renewed_token_too() {
    let issuer = AuthorizationServer::start();
    let (old, new) = (far(&issuer), modern(issuer.guard()));
    let oauth = json!({"oauth": {"grant": "authorization-code"}});
    for server in [old.entry(), new.entry()] {
        let server = settings::merged(server, oauth.clone());
        let eras = json!({"systemConfig": {"eras": ["legacy", "modern"]}});
        let alone = settings::merged(settings::standalone(json!({"far": server})), keys());
        let gateway = Gateway::start_with(&settings::merged(alone, eras));
        log_in(&gateway, &issuer, &session(&gateway, ANN), "ann");
        let client = Stateless::new(gateway.address(), "/mcp/far")
            .header("Authorization", &format!("Bearer {ANN}"))
            .able(json!({"elicitation": {"form": {}, "url": {}}}));
        for _ in 0..2 {
            let answer = client.answer("tools/call", json!({"name": "ask", "arguments": {}}));
            assert_eq!(text(&answer), "as usual");
            issuer.revoke_access();
        }
    }
}

#[test]
fn a_server_that_has_let_a_user_in_is_not_said_to_need_oauth_since_the_gateway_has_no_token() {
    let issuer = AuthorizationServer::start();
    let (old, new) = (far(&issuer), modern(issuer.guard()));
    let oauth = json!({"oauth": {"grant": "authorization-code"}});
    for server in [old.entry(), new.entry()] {
        let server = settings::merged(server, oauth.clone());
        let alone = settings::merged(settings::standalone(json!({"far": server})), keys());
        let gateway = Gateway::start_with(&alone);
        let status = || far_state(&gateway)["data"]["servers"][0]["status"].clone();
        eventually("it is said so before", || (status() == "needs-oauth").then_some(()));
        log_in(&gateway, &issuer, &session(&gateway, ANN), "ann");
        assert_eq!(status(), "running");
        // The gateway asks for the lists again, in vain.
        let refused = || {
            let all = [old.asked(), new.all()].concat();
            all.iter().filter(|asked| asked.header("authorization").is_none()).count()
        };
        let before = refused();
        eventually("it asks again", || (refused() > before).then_some(()));
        assert_eq!(status(), "running");
    }
}
