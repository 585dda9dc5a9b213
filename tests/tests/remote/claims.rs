//! Remote servers that are told who the client is, by claims of its token.

use mooring_tests::{
    Client, Cluster, Front, Gateway, Issuer, OddServer, OverSse, Setup, Way, eventually, settings,
};
use serde_json::{Value, json};

use crate::remote::upstreams::{SCOPES, ask, text};

const WAYS: [Way; 2] = [Way::Http, Way::Sse];

/// The headers that the server asks for.
fn wanted() -> Value {
    json!({"X-User": "sub", "X-Mail": "email", "X-Groups": "realm.roles", "X-Name": "displayName"})
}

fn entry(far: &OddServer) -> Value {
    settings::merged(
        far.entry(),
        json!({"headersFromClaims": wanted(), "headers": {"X-Mail": "nobody@example.com"}}),
    )
}

fn far(way: Way) -> OddServer {
    OddServer::guarded(way, None, |_, out| Some(out))
}

/// A gateway with the server, or a coordinator with it on a node; both know the issuer.
fn fronts(far: &OddServer, issuer: &Issuer) -> [Front; 2] {
    let servers = json!({"far": entry(far)});
    let alone = settings::merged(settings::standalone(servers.clone()), issuer.settings(json!({})));
    let coordinator =
        settings::merged(settings::coordinator(json!({})), issuer.settings(json!({})));
    let mut cluster = Cluster { coordinator: Gateway::start_with(&coordinator), nodes: Vec::new() };
    cluster.add("n1", servers);
    [Front::Alone(Gateway::start_with(&alone)), Front::Cluster(cluster)]
}

fn client(gateway: &Gateway, path: &str, token: &str) -> Client {
    let client = gateway.client(path).header("Authorization", &format!("Bearer {token}"));
    eventually("the server is there", || (client.try_initialize().status == 200).then_some(()));
    client
}

/// What the server was told with each call.
fn told(far: &OddServer, header: &str) -> Vec<Option<String>> {
    let calls = far.asked().into_iter().filter(|asked| asked.rpc() == "tools/call");
    calls.map(|asked| asked.header(header).map(str::to_owned)).collect()
}

fn last(far: &OddServer, header: &str) -> Option<String> {
    told(far, header).pop().flatten()
}

#[test]
fn claims_reach_the_server_and_no_client_sets_them() {
    for way in WAYS {
        let (far, issuer) = (far(way), Issuer::start());
        for front in fronts(&far, &issuer) {
            let claims = json!({
                "email": "ann@example.com",
                "realm": {"roles": ["reader", "a,b"]},
                "displayName": "J\u{fc}rgen\r\nX-Evil: 1",
            });
            let token = issuer.token_with("ann", claims);
            for (path, tool) in SCOPES {
                let session = client(front.gateway(), path, &token)
                    .header("X-User", "root")
                    .header("mooring-claim-sub", "root")
                    .header("mooring-client-mooring-claim-sub", "root")
                    .initialize();
                assert_eq!(text(&ask(&session, tool)), "as usual");
                assert_eq!(last(&far, "x-user").as_deref(), Some("ann"), "{} {path}", way.name());
                assert_eq!(last(&far, "x-mail").as_deref(), Some("ann@example.com"));
                assert_eq!(last(&far, "x-groups").as_deref(), Some("reader,a%2Cb"));
                assert_eq!(last(&far, "x-name").as_deref(), Some("J%C3%BCrgen%0D%0AX-Evil: 1"));
            }
            for asked in far.asked() {
                assert_eq!(asked.header("authorization"), None, "{asked:?}");
                assert_eq!(asked.header("x-evil"), None, "{asked:?}");
                let ours = |name: &str| asked.header(name).is_some();
                assert!(!ours("mooring-claim-sub") && !ours("mooring-client-mooring-claim-sub"));
            }
        }
    }
}

#[test]
fn each_session_is_told_of_its_own_client() {
    for way in WAYS {
        let (far, issuer) = (far(way), Issuer::start());
        for front in fronts(&far, &issuer) {
            let sessions: Vec<_> = ["ann", "ben", "eve"]
                .into_iter()
                .map(|who| {
                    let token = issuer.token_with(who, json!({"realm": {"roles": [who]}}));
                    (who, client(front.gateway(), "/mcp", &token).initialize())
                })
                .collect();
            for _ in 0..3 {
                for (who, session) in &sessions {
                    assert_eq!(text(&ask(session, "far-ask")), "as usual");
                    assert_eq!(last(&far, "x-user").as_deref(), Some(*who));
                    assert_eq!(last(&far, "x-groups").as_deref(), Some(*who));
                    // What the token does not say is as the settings say, or absent.
                    assert_eq!(last(&far, "x-mail").as_deref(), Some("nobody@example.com"));
                    assert_eq!(last(&far, "x-name"), None);
                }
            }
        }
    }
}

#[test]
fn a_client_of_http_and_sse_is_told_of_too_and_one_without_a_token_is_not() {
    let (far, issuer) = (far(Way::Http), Issuer::start());
    let settings = settings::merged(
        settings::standalone(json!({"far": entry(&far)})),
        settings::merged(
            issuer.settings(json!({})),
            json!({"systemConfig": {"routing": {
                "enableBearerAuth": true, "bearerAuthKey": "a-key-of-more-than-16-letters",
            }}}),
        ),
    );
    let gateway = Gateway::start_with(&settings);
    let token = issuer.token("ann");
    client(&gateway, "/mcp/far", &token);
    let bearer = format!("Bearer {token}");
    let mut sse = OverSse::open_with(gateway.address(), "/sse/far", &[("Authorization", &bearer)]);
    sse.begin();
    let answer = sse.answer("tools/call", json!({"name": "ask", "arguments": {}}));
    assert_eq!(text(&answer), "as usual");
    assert_eq!(last(&far, "x-user").as_deref(), Some("ann"));
    let keyed = client(&gateway, "/mcp/far", "a-key-of-more-than-16-letters").initialize();
    assert_eq!(text(&ask(&keyed, "ask")), "as usual");
    assert_eq!(last(&far, "x-user"), None);
}

#[test]
fn mistakes_are_named() {
    for (more, part) in [
        (json!({"headersFromClaims": {"te": "sub"}}), "is a header that Mooring sets itself"),
        (json!({"headersFromClaims": {"X-A": ""}}), "is not the name of a claim"),
        (
            json!({"headersFromClaims": {"X-A": "sub"}, "passthroughHeaders": ["x-a"]}),
            "is in passthroughHeaders too",
        ),
        (json!({"headersFromClaims": {"X-A": 5}}), "must be a string, not a number"),
    ] {
        let entry = settings::merged(json!({"url": "http://127.0.0.1:9/mcp"}), more);
        let checked = Setup::new(&settings::standalone(json!({"far": entry}))).run(&["check"]);
        let told = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert!(told.contains("mcpServers.far.headersFromClaims"), "{told}");
        assert!(told.contains(part), "{told}");
    }
}
