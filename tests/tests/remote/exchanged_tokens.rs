//! Remote servers that get tokens of each client's own, in exchange for those that the clients came in
//! with.

use mooring_tests::scripted::Asked;
use mooring_tests::{
    Client, Cluster, Gateway, Issuer, OddServer, Session, TokenServer, Way, eventually, settings,
};
use serde_json::{Value, json};

use crate::remote::upstreams::{ask, text};

const SUBJECT: &str = "mooring-subject-token";

/// A server that lets in what was given in exchange.
fn far(way: Way, tokens: &TokenServer) -> OddServer {
    let judge = tokens.judge();
    OddServer::guarded(way, None, move |asked, out| {
        if judge(asked) {
            return Some(out);
        }
        out.reply("401 Unauthorized", &["WWW-Authenticate: Bearer error=\"invalid_token\""], b"no");
        None
    })
}

fn entry(far: &OddServer, tokens: &TokenServer) -> Value {
    let oauth = settings::merged(
        tokens.oauth(),
        json!({"grant": "token-exchange", "audience": "far", "scope": "call"}),
    );
    settings::merged(far.entry(), json!({"oauth": oauth}))
}

fn alone(far: &OddServer, tokens: &TokenServer, issuer: &Issuer) -> Gateway {
    let servers = settings::standalone(json!({"far": entry(far, tokens)}));
    Gateway::start_with(&settings::merged(servers, issuer.settings(json!({}))))
}

/// A coordinator with the server on a node. Its file lets clients' tokens pass, or not.
fn cluster(far: &OddServer, tokens: &TokenServer, issuer: &Issuer, passes: bool) -> Cluster {
    let passed = if passes { json!({"far": [SUBJECT]}) } else { json!({}) };
    let own = json!({"coordinator": {"passthroughHeaders": passed}});
    let coordinator = settings::merged(settings::coordinator(own), issuer.settings(json!({})));
    let mut cluster = Cluster { coordinator: Gateway::start_with(&coordinator), nodes: Vec::new() };
    cluster.add("n1", json!({"far": entry(far, tokens)}));
    cluster
}

fn client(gateway: &Gateway, token: &str) -> Client {
    gateway.client("/mcp/far").header("Authorization", &format!("Bearer {token}"))
}

/// A session, once the issuer's keys and the server are there.
fn session(gateway: &Gateway, token: &str) -> Session {
    let client = client(gateway, token);
    eventually("the server is there", || {
        client.try_initialize().json()["result"].as_object().map(drop)
    });
    client.initialize()
}

/// The tokens that the server got with calls, without those that were refused.
fn sent(far: &OddServer) -> Vec<String> {
    let calls = far.asked().into_iter().filter(|asked| asked.rpc() == "tools/call");
    calls.map(|asked| asked.header("authorization").unwrap_or("").to_owned()).collect()
}

/// What the token server was given in exchange for tokens: inbound tokens in the order of requests.
fn subjects(tokens: &TokenServer) -> Vec<String> {
    tokens.asked().iter().filter_map(TokenServer::subject_of).collect()
}

fn never_got(far: &OddServer, inbound: &[&str]) {
    let shows = |asked: &Asked| inbound.iter().any(|token| format!("{asked:?}").contains(token));
    assert!(!far.asked().iter().any(shows), "an inbound token has reached the server");
    assert!(far.asked().iter().all(|asked| asked.header(SUBJECT).is_none()));
}

#[test]
fn each_client_is_another_one_to_the_server() {
    for way in [Way::Http, Way::Sse] {
        let (tokens, issuer) = (TokenServer::start(), Issuer::start());
        let far = far(way, &tokens);
        let (ann, ben) = (issuer.token("ann"), issuer.token("ben"));
        let check = |gateway: &Gateway| {
            let (of_ann, of_ben) = (session(gateway, &ann), session(gateway, &ben));
            let before = sent(&far).len();
            for _ in 0..3 {
                assert_eq!(text(&ask(&of_ann, "ask")), "as usual");
                assert_eq!(text(&ask(&of_ben, "ask")), "as usual");
            }
            let got = sent(&far).split_off(before);
            assert_eq!((&got[0], &got[1]), (&got[2], &got[3]), "{got:?}");
            assert_ne!(got[0], got[1]);
            never_got(&far, &[&ann, &ben]);
        };
        check(&alone(&far, &tokens, &issuer));
        let exchanged = subjects(&tokens);
        assert_eq!(exchanged.len(), 2, "each is exchanged once: {exchanged:?}");
        assert!(exchanged.contains(&ann) && exchanged.contains(&ben));
        check(&cluster(&far, &tokens, &issuer, true).coordinator);
        assert_eq!(subjects(&tokens).len(), 4);
        // The client's next token is another one to be exchanged.
        let gateway = alone(&far, &tokens, &issuer);
        let first = session(&gateway, &ann);
        let next = issuer.token_with("ann", json!({"jti": "next"}));
        let count = subjects(&tokens).len();
        let again = Session::resumed(&client(&gateway, &next), &first.id);
        assert_eq!(text(&ask(&again, "ask")), "as usual");
        assert_eq!(subjects(&tokens).len(), count + 1);
        assert_eq!(subjects(&tokens).pop().as_deref(), Some(&*next));
        // Each message has its own, whichever came last.
        let before = sent(&far).len();
        for session in [&first, &again, &first] {
            assert_eq!(text(&ask(session, "ask")), "as usual");
        }
        let got = sent(&far).split_off(before);
        assert_eq!(got[0], got[2], "{got:?}");
        assert_ne!(got[0], got[1], "{got:?}");
        assert_eq!(subjects(&tokens).len(), count + 1, "each is exchanged once");
    }
}

#[test]
fn a_token_that_is_revoked_is_exchanged_again() {
    for way in [Way::Http, Way::Sse] {
        let (tokens, issuer) = (TokenServer::start(), Issuer::start());
        let far = far(way, &tokens);
        let gateway = alone(&far, &tokens, &issuer);
        let session = session(&gateway, &issuer.token("ann"));
        assert_eq!(text(&ask(&session, "ask")), "as usual");
        tokens.revoke_all();
        let count = subjects(&tokens).len();
        assert_eq!(text(&ask(&session, "ask")), "as usual");
        assert_eq!(subjects(&tokens).len(), count + 1);
    }
}

#[test]
fn a_coordinator_that_does_not_say_so_gives_no_token_away() {
    let (tokens, issuer) = (TokenServer::start(), Issuer::start());
    let far = far(Way::Http, &tokens);
    let cluster = cluster(&far, &tokens, &issuer, false);
    let ann = issuer.token("ann");
    // A client cannot give it by itself either.
    let client = client(&cluster.coordinator, &ann).header(SUBJECT, &ann);
    let error = eventually("the node has refused", || {
        let opened = client.try_initialize().json();
        let error = opened["error"]["message"].as_str()?.to_owned();
        error.contains("needs OAuth of each client").then_some(error)
    });
    assert!(error.contains("on a node that gets none"), "{error}");
    cluster.coordinator.wait_for_log("asks for the clients' mooring-subject-token header");
    assert_eq!(tokens.asked().len(), 0);
    never_got(&far, &[&ann]);
}

#[test]
fn a_client_without_a_token_of_its_own_is_told_so() {
    let (tokens, issuer) = (TokenServer::start(), Issuer::start());
    let far = far(Way::Http, &tokens);
    let key = "a-key-of-more-than-16-letters";
    let routing = json!({"routing": {"enableBearerAuth": true, "bearerAuthKey": key}});
    let servers = settings::standalone(json!({"far": entry(&far, &tokens)}));
    let settings = settings::merged(servers, issuer.settings(json!({})));
    let gateway =
        Gateway::start_with(&settings::merged(settings, json!({"systemConfig": routing})));
    let keyed = client(&gateway, key).header(SUBJECT, "mine");
    let opened = keyed.try_initialize().json();
    assert!(opened.to_string().contains("server far needs OAuth of each client"), "{opened}");
    assert_eq!(tokens.asked().len(), 0);
    // What the token server says of a token is told, and the token is not.
    tokens.set_instead(Some(("400 Bad Request", "{\"error\": \"invalid_grant\"}")));
    let ann = issuer.token("ann");
    let error = eventually("the issuer's keys are there", || {
        let opened = client(&gateway, &ann).try_initialize().json();
        let error = opened["error"]["message"].as_str()?.to_owned();
        error.contains("invalid_grant").then_some(error)
    });
    assert!(!error.contains(&ann) && !gateway.log().contains(&ann));
}
