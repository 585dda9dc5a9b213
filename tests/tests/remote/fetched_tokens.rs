//! Access tokens that the gateway fetches for a remote server as a client of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mooring_tests::scripted::{Asked, Out};
use mooring_tests::token_server::SECRET;
use mooring_tests::{
    Certificate, Front, Gateway, OddServer, Setup, TokenServer, Way, eventually, settings,
};
use serde_json::{Value, json};

use crate::remote::upstreams::{SCOPES, ask, text};

const WAYS: [Way; 2] = [Way::Http, Way::Sse];
const CHALLENGE: &str = "WWW-Authenticate: Bearer error=\"invalid_token\"";

/// A server that lets in what the token server has given.
fn far(way: Way, tokens: &TokenServer) -> OddServer {
    let judge = tokens.judge();
    OddServer::guarded(way, None, move |asked, out| admit(&judge, asked, out))
}

fn admit(judge: &impl Fn(&Asked) -> bool, asked: &Asked, out: Out) -> Option<Out> {
    if judge(asked) {
        return Some(out);
    }
    out.reply("401 Unauthorized", &[CHALLENGE], b"no");
    None
}

fn entry(far: &OddServer, oauth: Value) -> Value {
    settings::merged(far.entry(), json!({"oauth": oauth}))
}

fn gateway(far: &OddServer, oauth: Value) -> Gateway {
    Gateway::start_with(&settings::standalone(json!({"far": entry(far, oauth)})))
}

/// The error that a client gets instead of a session.
#[track_caller]
fn refused(gateway: &Gateway) -> String {
    let opened = gateway.client("/mcp/far").try_initialize().json();
    opened["error"]["message"].as_str().unwrap_or_else(|| panic!("{opened}")).to_owned()
}

fn state(gateway: &Gateway) -> Value {
    let seen = gateway.data("/api/cluster/instances");
    let servers = seen["servers"].as_array().cloned().unwrap_or_default();
    servers.into_iter().find(|server| server["server"] == "far").unwrap_or_default()
}

#[test]
fn tokens_are_fetched_once_and_sent_with_every_request() {
    for way in WAYS {
        let tokens = TokenServer::start();
        let far = far(way, &tokens);
        let oauth = settings::merged(
            tokens.oauth(),
            json!({"scopes": ["read", "write"], "resource": "https://far.example/mcp"}),
        );
        Front::each(&json!({"far": entry(&far, oauth)}), &json!({}), |front| {
            let before = tokens.asked().len();
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    for (path, tool) in SCOPES {
                        scope.spawn(move || {
                            let session = front.client(path).initialize();
                            assert_eq!(text(&ask(&session, tool)), "as usual");
                        });
                    }
                }
            });
            // Each node has a token of its own.
            let most = if matches!(front, Front::Cluster(_)) { 2 } else { 1 };
            let count = tokens.asked().len();
            assert!(count <= before.max(1) + most, "{} after {before}", count);
        });
        let has_token = |asked: &Asked| {
            let text = asked.header("authorization");
            text.is_some_and(|text| text.starts_with("Bearer canary-token-"))
        };
        let without = far.asked().into_iter().find(|asked| !has_token(asked));
        assert!(without.is_none(), "{without:?}");
        for asked in tokens.asked() {
            let form = String::from_utf8(asked.body.clone()).unwrap();
            assert!(
                form.contains("scope=read+write&resource=https%3A%2F%2Ffar.example%2Fmcp"),
                "{form}"
            );
            assert!(asked.header("authorization").unwrap().starts_with("Basic "), "{asked:?}");
            assert!(!form.contains("client_secret"), "{form}");
        }
    }
}

#[test]
fn an_issuer_says_where_and_how_and_may_have_a_private_authority() {
    let certificate = Certificate::of(&["127.0.0.1"]);
    let tokens = TokenServer::start_with(Some(certificate.server(&[])));
    let far = far(Way::Http, &tokens);
    let with = |more: Value| {
        let base = json!({"clientId": "mooring-client", "clientSecret": SECRET,
            "tls": {"ca": certificate.cert}});
        settings::merged(base, more)
    };
    for oauth in [
        with(json!({"issuer": tokens.url("/issuer")})),
        with(json!({"tokenEndpoint": tokens.url("/token"), "authMethod": "post"})),
    ] {
        let gateway = gateway(&far, oauth);
        assert_eq!(text(&ask(&gateway.client("/mcp/far").initialize(), "ask")), "as usual");
        let last = tokens.asked().pop().unwrap();
        assert!(String::from_utf8(last.body).unwrap().contains("client_secret=canary-secret"));
    }
    let other = gateway(&far, with(json!({"issuer": tokens.url("/elsewhere")})));
    assert!(refused(&other).contains("has no metadata of an issuer: it answers 404"));
    let oauth = json!({"clientId": "c", "clientSecret": SECRET, "issuer": tokens.url("/issuer")});
    assert!(refused(&gateway(&far, oauth)).contains("certificate"));
}

#[test]
fn a_token_is_renewed_before_it_expires_and_no_call_notices() {
    for way in WAYS {
        let tokens = TokenServer::start();
        tokens.set_lifetime(Duration::from_secs(2));
        let judge = tokens.judge();
        let late = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&late);
        let far = OddServer::guarded(way, None, move |asked, out| {
            if !judge(asked) {
                count.fetch_add(1, Ordering::AcqRel);
            }
            admit(&judge, asked, out)
        });
        let gateway = gateway(&far, tokens.oauth());
        let session = gateway.client("/mcp/far").initialize();
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(6) {
            assert_eq!(text(&ask(&session, "ask")), "as usual");
            std::thread::sleep(Duration::from_millis(20));
        }
        let fetched = tokens.asked().len();
        assert!((3..=8).contains(&fetched), "{fetched}");
        assert_eq!(late.load(Ordering::Acquire), 0, "an expired token was sent");
    }
}

#[test]
fn a_refused_token_is_replaced_and_the_request_is_sent_again_once() {
    for way in WAYS {
        // At once, and after the client has its stream already.
        for pause in [Duration::ZERO, Duration::from_millis(1300)] {
            let tokens = TokenServer::start();
            let judge = tokens.judge();
            let far = OddServer::guarded(way, None, move |asked, out| {
                if !judge(asked) {
                    std::thread::sleep(pause);
                }
                admit(&judge, asked, out)
            });
            Front::each(&json!({"far": entry(&far, tokens.oauth())}), &json!({}), |front| {
                for (path, tool) in SCOPES {
                    let session = front.client(path).initialize();
                    assert_eq!(text(&ask(&session, tool)), "as usual");
                    tokens.revoke_all();
                    let fetched = tokens.asked().len();
                    assert_eq!(text(&ask(&session, tool)), "as usual", "{} {path}", way.name());
                    // Another node may have asked for one, too.
                    let more = tokens.asked().len() - fetched;
                    assert!((1..=2).contains(&more), "{more}");
                    assert_eq!(text(&ask(&session, tool)), "as usual");
                    // A token that was refused just now is not replaced again.
                    std::thread::sleep(Duration::from_millis(1100));
                }
            });
        }
    }
}

#[test]
fn a_server_that_takes_no_token_says_so_and_does_not_cost_a_token_each() {
    let tokens = TokenServer::start();
    let far = OddServer::guarded(Way::Http, None, |_, out| {
        out.reply("401 Unauthorized", &[CHALLENGE], b"no");
        None
    });
    let gateway = gateway(&far, tokens.oauth());
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        let error = refused(&gateway);
        assert!(error.contains("it refuses the access token that was fetched"), "{error}");
        assert!(error.contains("check scope, resource and audience"), "{error}");
    }
    assert!(tokens.asked().len() <= 6, "{}", tokens.asked().len());
    assert!(far.asked().len() > tokens.asked().len());
    assert_eq!(state(&gateway)["status"], "needs-oauth");
}

#[test]
fn a_wrong_secret_is_told_as_the_servers_state_and_shown_nowhere() {
    let tokens = TokenServer::start();
    tokens.set_secret("another one");
    let far = far(Way::Http, &tokens);
    let servers = settings::standalone(json!({"far": entry(&far, tokens.oauth())}));
    let gateway = Setup::new(&servers).env("MOORING_LOG", "debug").start();
    let error = refused(&gateway);
    assert!(error.contains("server far: no access token: http://127.0.0.1"), "{error}");
    assert!(error.contains("answers 401 Unauthorized (invalid_client)"), "{error}");
    let seen = eventually("its state", || {
        Some(state(&gateway)).filter(|state| state["status"] == "needs-oauth")
    });
    assert!(seen["lastError"].as_str().unwrap().contains("invalid_client"), "{seen}");
    assert_eq!(far.asked().len(), 0, "nothing is sent without a token");
    // It works as soon as the secret is right.
    tokens.set_secret(SECRET);
    eventually("the server is opened", || {
        gateway.client("/mcp/far").try_initialize().json()["result"].as_object().map(drop)
    });
    eventually("it is well", || (state(&gateway)["status"] == "running").then_some(()));
    let checked = Setup::new(&servers).run(&["check"]);
    let mut shown = vec![
        ("log", gateway.log()),
        ("check", String::from_utf8_lossy(&checked.stdout).into_owned()),
        ("findings", format!("-{}", String::from_utf8_lossy(&checked.stderr))),
    ];
    for path in
        ["/api/cluster/instances", "/api/cluster/nodes", "/api/reload", "/health", "/metrics"]
    {
        shown.push((path, gateway.get(path).text()));
    }
    for (what, text) in shown {
        assert!(!text.is_empty() && !text.contains("canary"), "{what}: {text}");
    }
}

#[test]
fn a_token_server_that_is_down_is_asked_seldom_and_costs_no_session() {
    for way in WAYS {
        let tokens = TokenServer::start();
        tokens.set_lifetime(Duration::from_secs(2));
        let far = far(way, &tokens);
        let gateway = gateway(&far, tokens.oauth());
        gateway.wait_until_discovered(&["far"]);
        let session = gateway.client("/mcp/far").initialize();
        assert_eq!(text(&ask(&session, "ask")), "as usual");
        let opened = far.opened();
        tokens.set_instead(Some(("503 Service Unavailable", "down")));
        let before = tokens.asked().len();
        let answer = eventually("the token has expired", || {
            Some(ask(&session, "ask")).filter(|answer| answer["error"].is_object())
        });
        assert_eq!(answer["error"]["code"], -31002, "{}: {answer}", way.name());
        assert!(answer.to_string().contains("answers 503 Service Unavailable"), "{answer}");
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(2) {
            assert!(ask(&session, "ask")["error"].is_object());
        }
        let failed = tokens.asked().len() - before;
        assert!((1..=5).contains(&failed), "{failed}");
        tokens.set_instead(None);
        eventually("it goes on", || (ask(&session, "ask")["result"].is_object()).then_some(()));
        assert_eq!(far.opened(), opened, "{}: the session has stayed", way.name());
    }
}

#[test]
fn hostile_answers_are_told_and_nothing_of_them_is_sent() {
    let tokens = TokenServer::start();
    let far = far(Way::Http, &tokens);
    let token = |value: &str| json!({"access_token": value, "token_type": "Bearer"}).to_string();
    let long = token(&"x".repeat(20_000));
    let larger = token(&"x".repeat(200_000));
    let split = token("a\r\nX-Evil: 1\r\n\r\nPOST /evil HTTP/1.1");
    for (status, body, part) in [
        ("200 OK", split.as_str(), "cannot be sent in a header"),
        ("200 OK", &long, "cannot be sent in a header"),
        ("200 OK", &larger, "larger than 65536 bytes"),
        ("200 OK", "<html>login</html>", "answers without an access_token"),
        ("200 OK", "[]", "answers without an access_token"),
        ("200 OK", "{\"access_token\": {\"a\": 1}}", "cannot be sent in a header"),
        ("200 OK", "{\"access_token\": \"a\", \"token_type\": \"mac\"}", "not of the type Bearer"),
        ("302 Found", "", "which is not followed"),
        ("500 Internal Server Error", "{\"error\": \"\u{1b}[31m\\nfake log line\"}", "answers 500"),
    ] {
        tokens.set_instead(Some((status, body)));
        let gateway = gateway(&far, tokens.oauth());
        let error = refused(&gateway);
        assert!(error.contains(part), "{status}: {error}");
        assert!(!error.contains('\u{1b}') && !gateway.log().contains('\u{1b}'), "{error}");
    }
    assert_eq!(far.asked().len(), 0);
}

#[test]
fn a_secret_of_a_file_that_changes_is_used_and_other_changes_keep_the_token() {
    let tokens = TokenServer::start();
    let far = far(Way::Http, &tokens);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    let oauth = settings::merged(
        tokens.oauth(),
        json!({"clientSecret": format!("${{file:{}}}", file.display())}),
    );
    let servers = settings::standalone(json!({"far": entry(&far, oauth)}));
    let gateway = Gateway::start_with(&servers);
    let session = gateway.client("/mcp/far").initialize();
    assert_eq!(text(&ask(&session, "ask")), "as usual");
    let fetched = tokens.asked().len();
    gateway
        .apply(&settings::merged(servers, json!({"systemConfig": {"limits": {"pageSize": 77}}})));
    assert_eq!(text(&ask(&session, "ask")), "as usual");
    assert_eq!(tokens.asked().len(), fetched, "the token is kept");
    tokens.set_secret("next secret");
    tokens.revoke_all();
    std::fs::write(&file, "next secret\n").unwrap();
    eventually("the new secret is used", || {
        (ask(&session, "ask")["result"].is_object()).then_some(())
    });
    assert!(tokens.asked().len() > fetched);
}
