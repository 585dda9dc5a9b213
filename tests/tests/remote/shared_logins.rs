//! Users who log in where several coordinators share a Redis, behind a path of their own: what one begins
//! another ends, and they renew a token once between them.

use mooring_tests::authorization_server::invited;
use mooring_tests::{
    AuthorizationServer, Client, Gateway, Pair, RedisServer, Request, Session, Setup, eventually,
    settings,
};
use serde_json::json;

use super::logins::{
    ANN, TOOL, callers, client, entry, far, invitation, keys, opens_urls, wait_for_tools,
};
use crate::remote::upstreams::{ask, text};

const BASE: &str = "/hub";
const PATH: &str = "/hub/mcp/far";

struct Shared {
    coordinators: [Gateway; 2],
    _node: Gateway,
    _redis: RedisServer,
}

impl Shared {
    /// `None` where there is no Redis.
    fn start(server: &serde_json::Value) -> Option<Self> {
        let redis = RedisServer::start("logins at several coordinators")?;
        let store = json!({"store": {"type": "redis", "url": redis.url()}});
        let off = settings::merged(server.clone(), json!({"enabled": false}));
        let more = json!({
            "mcpServers": {"far": off},
            "systemConfig": {"publicUrl": "https://hub.example.com"},
        });
        let all = settings::merged(settings::coordinator(store), keys());
        let all = settings::merged(all, more);
        let coordinators = [0, 1].map(|_| Setup::new(&all).env("BASE_PATH", BASE).start());
        let at = format!("{}{BASE}", coordinators[0].url());
        let node = Pair::node(&at, "n1", json!({"far": server}));
        let shared = Self { coordinators, _node: node, _redis: redis };
        for at in [0, 1] {
            eventually("the node is known", || {
                (shared.client(at).try_initialize().status == 200).then_some(())
            });
        }
        Some(shared)
    }

    fn client(&self, at: usize) -> Client {
        opens_urls(client(&self.coordinators[at], PATH, ANN))
    }

    /// Sessions at both coordinators, whose user has logged in.
    fn logged_in(&self, issuer: &AuthorizationServer) -> [Session; 2] {
        let sessions = [0, 1].map(|at| self.client(at).initialize());
        let (url, _) = invitation(&sessions[0]);
        let (cookie, back) = issuer.come_back(&self.coordinators[0], "ann", &url);
        self.get(0, &back, &cookie, 200);
        sessions.iter().for_each(wait_for_tools);
        sessions
    }

    #[track_caller]
    fn get(&self, at: usize, target: &str, cookie: &str, status: u16) -> String {
        let request = Request::get(target).header("Cookie", cookie);
        request.send(self.coordinators[at].address()).expect(status).text()
    }
}

#[test]
fn a_login_that_one_coordinator_has_begun_ends_at_another_and_once() {
    let issuer = AuthorizationServer::start();
    let far = far(&issuer);
    let Some(shared) = Shared::start(&entry(&far, json!({}))) else { return };
    let session = shared.client(0).initialize();
    let mut stream = session.listen();
    assert_eq!(session.tools(), [TOOL]);
    let (url, id) = invitation(&session);
    assert!(url.starts_with("https://hub.example.com/hub/oauth/login?id="), "{url}");
    // The page may come from either, and so may the end.
    let (cookie, back) = issuer.come_back(&shared.coordinators[1], "ann", &url);
    assert!(back.starts_with("/hub/oauth/callback?"), "{back}");
    let page = shared.get(1, &back, &cookie, 200);
    assert!(page.contains("You are logged in"), "{page}");
    for at in [0, 1] {
        shared.get(at, &back, &cookie, 404);
    }
    assert_eq!(issuer.grants(), ["authorization_code"]);
    // The client is told where it listens, whichever coordinator has ended the login.
    let told = stream.message(|message| message["method"] == "notifications/elicitation/complete");
    assert_eq!(told["params"]["elicitationId"], id.as_str());
    stream.message(|message| message["method"] == "notifications/tools/list_changed");
    wait_for_tools(&session);
    assert_eq!(text(&ask(&session, "ask")), "as usual");
    let other = Session::resumed(&client(&shared.coordinators[1], PATH, ANN), &session.id);
    assert_eq!(text(&ask(&other, "ask")), "as usual");
    assert_eq!(callers(&issuer, &far), [Some("ann".to_owned()), Some("ann".to_owned())]);
    // One that is over is not offered again by who has begun it.
    issuer.revoke_all();
    let (again, _) = eventually("the user is asked again", || {
        let answer = ask(&session, "ask");
        (answer["error"]["code"] == -32042).then(|| invited(&answer))
    });
    assert_ne!(again, url);
    for gateway in &shared.coordinators {
        assert!(!gateway.log().contains("canary"));
    }
}

#[test]
fn coordinators_renew_a_refused_token_once_between_them() {
    let issuer = AuthorizationServer::start();
    let far = far(&issuer);
    let Some(shared) = Shared::start(&entry(&far, json!({}))) else { return };
    let sessions = shared.logged_in(&issuer);
    for session in &sessions {
        assert_eq!(text(&ask(session, "ask")), "as usual");
    }
    // One after the other: the second one has the old token, and takes what the first has renewed.
    issuer.revoke_access();
    for session in &sessions {
        assert_eq!(text(&ask(session, "ask")), "as usual");
    }
    assert_eq!(issuer.grants(), ["authorization_code", "refresh_token"]);
    // Both at once: each refresh token is good once.
    for round in 0..5 {
        issuer.revoke_access();
        std::thread::scope(|scope| {
            let asking = sessions.each_ref().map(|session| scope.spawn(|| ask(session, "ask")));
            for asked in asking {
                assert_eq!(text(&asked.join().unwrap()), "as usual");
            }
        });
        assert_eq!(issuer.grants().len(), 3 + round);
    }
}

#[test]
fn a_login_that_is_over_is_over_at_all_coordinators() {
    let issuer = AuthorizationServer::start();
    let far = far(&issuer);
    let Some(shared) = Shared::start(&entry(&far, json!({}))) else { return };
    let sessions = shared.logged_in(&issuer);
    for session in &sessions {
        assert_eq!(text(&ask(session, "ask")), "as usual");
    }
    issuer.revoke_all();
    let _ = invited(&ask(&sessions[0], "ask"));
    let granted = issuer.grants().len();
    // The other one has the token still. It does not bring the login back.
    let _ = invited(&ask(&sessions[1], "ask"));
    let _ = invited(&ask(&sessions[0], "ask"));
    assert_eq!(issuer.grants().len(), granted);
}
