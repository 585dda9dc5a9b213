//! Remote servers that want each user's own OAuth: a user logs in once, in a browser, and the gateway acts
//! with that user's token.

use std::time::Duration;

use mooring_tests::authorization_server::{invited, target};
use mooring_tests::scripted::Asked;
use mooring_tests::{
    AuthorizationServer, Client, Cluster, Gateway, OddServer, Request, Session, Stateless, Way,
    eventually, settings,
};
use serde_json::{Value, json};

use crate::remote::upstreams::{ask, text};

pub const ANN: &str = "the-key-of-ann-0123456789";
pub const BEN: &str = "the-key-of-ben-0123456789";
pub const TOOL: &str = "mooring_log_in";

pub fn far(issuer: &AuthorizationServer) -> OddServer {
    OddServer::guarded(Way::Http, None, issuer.guard())
}

pub fn entry(far: &OddServer, more: Value) -> Value {
    let oauth = settings::merged(json!({"grant": "authorization-code"}), more);
    settings::merged(far.entry(), json!({"oauth": oauth}))
}

pub fn keys() -> Value {
    let key = |name: &str, token: &str| json!({"name": name, "token": token, "accessType": "all"});
    json!({"bearerKeys": [key("ann", ANN), key("ben", BEN)]})
}

pub fn gateway(far: &OddServer, more: Value) -> Gateway {
    let servers = settings::standalone(json!({"far": entry(far, more)}));
    Gateway::start_with(&settings::merged(servers, keys()))
}

pub fn client(gateway: &Gateway, path: &str, key: &str) -> Client {
    gateway.client(path).header("Authorization", &format!("Bearer {key}"))
}

/// A client that opens URLs for its user.
pub fn opens_urls(client: Client) -> Client {
    client.params(json!({
        "protocolVersion": "2025-11-25", "capabilities": {"elicitation": {"form": {}, "url": {}}},
        "clientInfo": {"name": "opener", "version": "1"},
    }))
}

pub fn session(gateway: &Gateway, key: &str) -> Session {
    opens_urls(client(gateway, "/mcp/far", key)).initialize()
}

/// The invitation that a session gets.
#[track_caller]
pub fn invitation(session: &Session) -> (String, String) {
    invited(&ask(session, TOOL))
}

/// Logs a user in, whose session then has the server's tools.
#[track_caller]
pub fn log_in(gateway: &Gateway, issuer: &AuthorizationServer, session: &Session, user: &str) {
    let (url, _) = invitation(session);
    let page = issuer.log_in(gateway, user, &url).expect(200);
    assert!(page.text().contains("You are logged in"), "{}", page.text());
    wait_for_tools(session);
}

#[track_caller]
pub fn wait_for_tools(session: &Session) {
    eventually("the server's tools are listed", || {
        session.tools().contains(&"ask".to_owned()).then_some(())
    });
}

/// The users whose tokens came with calls.
pub fn callers(issuer: &AuthorizationServer, far: &OddServer) -> Vec<Option<String>> {
    let calls = far.asked().into_iter().filter(|asked| asked.rpc() == "tools/call");
    calls.map(|asked| issuer.user_of(&asked)).collect()
}

#[track_caller]
fn shows_no_secret(gateway: &Gateway) {
    let mut texts = vec![gateway.log(), far_state(gateway).to_string()];
    for file in std::fs::read_dir(gateway.data_folder().join("logins")).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        texts.push(String::from_utf8_lossy(&bytes).into_owned());
    }
    for text in texts {
        assert!(!text.contains("canary") && !text.contains("code-1"), "{text}");
    }
}

pub fn far_state(gateway: &Gateway) -> Value {
    let asked = Request::get("/api/cluster/instances")
        .header("Authorization", &format!("Bearer {ANN}"))
        .send(gateway.address())
        .expect(200);
    asked.json()
}

#[test]
fn a_user_logs_in_once_and_the_server_serves_that_user() {
    let issuer = AuthorizationServer::start();
    let far = far(&issuer);
    let mut gateway = gateway(&far, json!({}));
    let session = session(&gateway, ANN);
    let mut stream = session.listen();
    assert_eq!(session.tools(), [TOOL], "nothing else is known yet");
    let (url, id) = invitation(&session);
    assert!(url.starts_with(&gateway.url()) && url.contains("/oauth/login?id="), "{url}");
    assert_eq!(invitation(&session), (url.clone(), id.clone()), "it is the same login");
    let page = issuer.log_in(&gateway, "ann", &url).expect(200);
    assert!(page.text().contains("\u{201c}ann\u{201d} can now use"), "{}", page.text());
    let told = stream.message(|message| message["method"] == "notifications/elicitation/complete");
    assert_eq!(told["params"]["elicitationId"], id.as_str());
    stream.message(|message| message["method"] == "notifications/tools/list_changed");
    wait_for_tools(&session);
    assert_eq!(session.tools(), ["ask"]);
    assert_eq!(text(&ask(&session, "ask")), "as usual");
    assert!(text(&ask(&session, TOOL)).contains("logged in"));
    assert_eq!(callers(&issuer, &far), [Some("ann".to_owned())]);
    // The login is kept, and in a scope of several servers its tools have the server's name.
    gateway.kill9();
    gateway.start();
    assert_eq!(text(&ask(&session_again(&gateway, &session), "ask")), "as usual");
    let again = client(&gateway, "/mcp", ANN).initialize();
    eventually("the tools are listed", || {
        again.tools().contains(&"far-ask".to_owned()).then_some(())
    });
    assert_eq!(text(&ask(&again, "far-ask")), "as usual");
    assert_eq!((issuer.grants().len(), issuer.registrations()), (1, 1));
    shows_no_secret(&gateway);
}

/// The same session, which has listed nothing since.
fn session_again(gateway: &Gateway, session: &Session) -> Session {
    Session::resumed(&client(gateway, "/mcp/far", ANN), &session.id)
}

#[test]
fn each_user_has_a_token_of_their_own() {
    let issuer = AuthorizationServer::start();
    let far = far(&issuer);
    let gateway = gateway(&far, json!({}));
    let (ann, ben) = (session(&gateway, ANN), session(&gateway, BEN));
    log_in(&gateway, &issuer, &ann, "ann");
    assert_eq!(ben.tools(), [TOOL], "what ann may list is not for ben");
    let (url, _) = invitation(&ben);
    assert!(issuer.log_in(&gateway, "ben", &url).text().contains("\u{201c}ben\u{201d}"));
    wait_for_tools(&ben);
    assert_eq!(text(&ask(&ben, "ask")), "as usual");
    assert_eq!(text(&ask(&ann, "ask")), "as usual");
    let users = callers(&issuer, &far);
    assert_eq!(users, [Some("ben".to_owned()), Some("ann".to_owned())]);
    // Nobody knows who an anonymous client is.
    let servers = json!({"far": entry(&far, json!({}))});
    let open = Gateway::start_with(&settings::standalone(servers));
    let anonymous = opens_urls(open.client("/mcp/far")).initialize();
    let error = ask(&anonymous, TOOL);
    let words = error["error"]["message"].as_str().unwrap_or_else(|| panic!("{error}"));
    assert!(words.contains("without a credential") && words.contains("bearerKeys"), "{words}");
}

#[test]
fn a_client_that_opens_no_urls_is_told_in_words() {
    let issuer = AuthorizationServer::start();
    let far = far(&issuer);
    let gateway = gateway(&far, json!({}));
    let session = client(&gateway, "/mcp", ANN).initialize();
    let tool = format!("far-{TOOL}");
    assert!(session.tools().contains(&tool), "{:?}", session.tools());
    let error = ask(&session, &tool);
    assert_eq!(error["error"]["code"], -31002, "{error}");
    assert!(error["error"].get("data").is_none(), "{error}");
    let words = error["error"]["message"].as_str().unwrap().to_owned();
    let url = words.split_whitespace().find(|word| word.starts_with("http")).unwrap();
    issuer.log_in(&gateway, "ann", url).expect(200);
    eventually("the tools are listed", || {
        session.tools().contains(&"far-ask".to_owned()).then_some(())
    });
    assert_eq!(text(&ask(&session, "far-ask")), "as usual");
}

#[test]
fn a_client_without_a_session_is_asked_for_the_login_as_input() {
    let issuer = AuthorizationServer::start();
    let far = far(&issuer);
    let servers = settings::standalone(json!({"far": entry(&far, json!({}))}));
    let eras = json!({"systemConfig": {"eras": ["legacy", "modern"]}});
    let gateway = Gateway::start_with(&settings::merged(settings::merged(servers, keys()), eras));
    let client = Stateless::new(gateway.address(), "/mcp/far")
        .header("Authorization", &format!("Bearer {ANN}"))
        .able(json!({"elicitation": {"form": {}, "url": {}}}));
    let asked = client.answer("tools/call", json!({"name": TOOL, "arguments": {}}));
    let result = &asked["result"];
    assert_eq!(result["resultType"], "input_required", "{asked}");
    let url = result["inputRequests"]["url-1"]["params"]["url"].as_str();
    let url = url.unwrap_or_else(|| panic!("{asked}"));
    issuer.log_in(&gateway, "ann", url).expect(200);
    let answer = client.answer("tools/call", json!({"name": TOOL, "arguments": {}}));
    assert!(text(&answer).contains("logged in"), "{answer}");
}

#[test]
fn a_token_is_renewed_and_a_login_that_is_over_is_asked_for_again() {
    let issuer = AuthorizationServer::start();
    let far = far(&issuer);
    let gateway = gateway(&far, json!({}));
    let session = session(&gateway, ANN);
    log_in(&gateway, &issuer, &session, "ann");
    assert_eq!(text(&ask(&session, "ask")), "as usual");
    // One that the server refuses is replaced, without a word to the client.
    issuer.revoke_access();
    assert_eq!(text(&ask(&session, "ask")), "as usual");
    assert_eq!(issuer.grants(), ["authorization_code", "refresh_token"]);
    // One that ends is renewed before.
    issuer.set_lifetime(Duration::from_secs(5));
    issuer.revoke_access();
    assert_eq!(text(&ask(&session, "ask")), "as usual");
    let count = issuer.grants().len();
    eventually("it is renewed", || {
        assert_eq!(text(&ask(&session, "ask")), "as usual");
        (issuer.grants().len() > count).then_some(())
    });
    issuer.revoke_all();
    let (url, _) = eventually("the user is asked again", || {
        let answer = ask(&session, "ask");
        (answer["error"]["code"] == -32042).then(|| invited(&answer))
    });
    issuer.log_in(&gateway, "ann", &url).expect(200);
    assert_eq!(text(&ask(&session, "ask")), "as usual");
    shows_no_secret(&gateway);
}

#[test]
fn a_login_ends_once_and_in_the_browser_that_began_it() {
    let issuer = AuthorizationServer::start();
    let far = far(&issuer);
    let gateway = gateway(&far, json!({}));
    let session = session(&gateway, ANN);
    let (url, _) = invitation(&session);
    let (cookie, back) = issuer.come_back(&gateway, "ann", &url);
    let get = |target: &str, cookie: &str| {
        Request::get(target).header("Cookie", cookie).send(gateway.address())
    };
    let other = get(&back, "mooring-login-x=y").expect(400);
    assert!(other.text().contains("has not begun"), "{}", other.text());
    let forged = back.replacen("state=", "state=A", 1);
    get(&forged, &cookie).expect(404);
    get("/oauth/callback?code=x", &cookie).expect(404);
    Request::get(&back).header("Host", "evil.example").send(gateway.address()).expect(403);
    Request::post(&back).header("Cookie", &cookie).send(gateway.address()).expect(405);
    assert_eq!(issuer.grants().len(), 0);
    get(&back, &cookie).expect(200);
    get(&back, &cookie).expect(404);
    get(target(&url), "").expect(404);
    assert_eq!(issuer.grants().len(), 1);
    // Another user's login that comes back from elsewhere, or without consent.
    let ben = session_of_ben(&gateway);
    issuer.calls_itself("https://evil.example");
    let (url, _) = invitation(&ben);
    let (cookie, back) = issuer.come_back(&gateway, "ben", &url);
    let wrong = get(&back, &cookie).expect(400);
    assert!(wrong.text().contains("somewhere else"), "{}", wrong.text());
    let (url, _) = invitation(&ben);
    let (cookie, back) = issuer.come_back(&gateway, "ben", &url);
    let state = back.split("state=").nth(1).and_then(|rest| rest.split('&').next()).unwrap();
    let denied = format!(
        "/oauth/callback?error=access_denied&error_description=%3Cb%3E&state={state}&iss={}",
        issuer.url("").trim_end_matches('/').replace(':', "%3A").replace('/', "%2F")
    );
    let page = get(&denied, &cookie).expect(200).text();
    assert!(page.contains("access_denied: &lt;b&gt;") && !page.contains("<b>"), "{page}");
    assert_eq!(issuer.grants().len(), 1);
}

fn session_of_ben(gateway: &Gateway) -> Session {
    session(gateway, BEN)
}

#[test]
fn a_client_of_the_operators_and_the_public_url_count() {
    let issuer = AuthorizationServer::start();
    let far = far(&issuer);
    let oauth = json!({
        "clientId": "own", "authorizeUrl": issuer.url("/authorize"), "tokenUrl": issuer.url("/token"),
        "scope": "read",
    });
    let servers = settings::standalone(json!({"far": entry(&far, oauth)}));
    let public = json!({"systemConfig": {"publicUrl": "https://hub.example.com"}});
    let settings = settings::merged(settings::merged(servers, keys()), public);
    let gateway = Gateway::start_with(&settings);
    let session = session(&gateway, ANN);
    let (url, _) = invitation(&session);
    assert!(url.starts_with("https://hub.example.com/oauth/login?id="), "{url}");
    let page = Request::get(target(&url)).send(gateway.address()).expect(200);
    let cookie = page.header("set-cookie").unwrap();
    assert!(cookie.contains("; Secure") && cookie.contains("HttpOnly"), "{cookie}");
    let text = page.text();
    for part in [
        "client_id=own",
        "scope=read",
        "redirect_uri=https%3A%2F%2Fhub.example.com%2Foauth%2Fcallback",
        "code_challenge_method=S256",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(issuer.registrations(), 0);
    // With other settings the login of before is none.
    let state = far_state(&gateway).to_string();
    assert!(!state.contains("canary"), "{state}");
}

#[test]
fn a_coordinator_logs_users_in_for_a_server_of_a_node() {
    let issuer = AuthorizationServer::start();
    let far = far(&issuer);
    let off = settings::merged(entry(&far, json!({})), json!({"enabled": false}));
    let coordinator = settings::merged(settings::coordinator(json!({})), keys());
    let coordinator = settings::merged(coordinator, json!({"mcpServers": {"far": off}}));
    let coordinator = Gateway::start_with(&coordinator);
    let mut cluster = Cluster { coordinator, nodes: Vec::new() };
    cluster.add("n1", json!({"far": entry(&far, json!({}))}));
    let opener = opens_urls(client(&cluster.coordinator, "/mcp/far", ANN));
    eventually("the node is there", || (opener.try_initialize().status == 200).then_some(()));
    let session = opener.initialize();
    log_in(&cluster.coordinator, &issuer, &session, "ann");
    assert_eq!(text(&ask(&session, "ask")), "as usual");
    issuer.revoke_access();
    assert_eq!(text(&ask(&session, "ask")), "as usual");
    assert_eq!(issuer.grants(), ["authorization_code", "refresh_token"]);
    let asked = far.asked();
    let has = |asked: &Asked, name: &str| asked.header(name).is_some();
    assert!(!asked.iter().any(|asked| has(asked, "mooring-user-token")));
}

#[test]
fn a_refresh_token_of_the_file_fetches_tokens() {
    let issuer = AuthorizationServer::start();
    issuer.has_given("canary-refresh-0", "operator");
    let far = far(&issuer);
    let oauth = json!({
        "clientId": "own", "refreshToken": "canary-refresh-0", "accessToken": "canary-old",
        "tokenEndpoint": issuer.url("/token"),
    });
    let server = settings::merged(far.entry(), json!({"oauth": oauth}));
    let gateway = Gateway::start_with(&settings::standalone(json!({"far": server})));
    let session = gateway.client("/mcp/far").initialize();
    assert_eq!(text(&ask(&session, "ask")), "as usual");
    assert_eq!(callers(&issuer, &far), [Some("operator".to_owned())]);
    // The issuer gives another one each time: that is used from then on.
    issuer.revoke_access();
    assert_eq!(text(&ask(&session, "ask")), "as usual");
    assert_eq!(issuer.grants(), ["refresh_token", "refresh_token"]);
    assert!(!gateway.log().contains("canary"));
}
